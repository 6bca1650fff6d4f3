//! Which systems have a QEMU that asks for devices.

#[cfg(target_os = "linux")]
mod linux;

#[cfg(target_os = "linux")]
pub use linux::run;

/// There is nobody to serve.
#[cfg(not(target_os = "linux"))]
pub fn run(_: &[String]) -> Result<(), Box<dyn std::error::Error>> {
    Err("only on Linux QEMU asks us for devices".into())
}
