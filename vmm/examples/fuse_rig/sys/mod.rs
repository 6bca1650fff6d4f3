//! Which systems have what the rig needs.

#[cfg(target_os = "linux")]
mod agent;
#[cfg(target_os = "linux")]
mod linux;

#[cfg(target_os = "linux")]
pub use linux::run;

/// There is nothing to mount with.
#[cfg(not(target_os = "linux"))]
pub fn run(_: &[String]) -> Result<(), Box<dyn std::error::Error>> {
    Err("only Linux has /dev/fuse".into())
}
