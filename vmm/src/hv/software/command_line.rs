//! QEMU's command line: a pure function of what the machine is made of. Called by the engine.

use std::ffi::OsString;
use std::os::fd::RawFd;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// CPU model: all that TCG can do, but not what sends Linux to `rep movsb`, which TCG copies byte by byte.
const CPU: &str = "max,-erms,-fsrm";
/// Added to the guest's command line.
/// - `reboot=t`: a triple fault; there is no keyboard controller to ask, and Linux would try it for half a second.
/// - `mitigations=off`: they steer a real CPU's speculation. Translated code is not subject to them, and pays for them.
/// - `no_timer_check`: Linux panics if the timer does not tick often enough while it looks, which on a busy host it may not.
const CMDLINE: &str = "reboot=t no_timer_check mitigations=off";

/// A device that QEMU shows to the guest and that we serve.
#[derive(Debug)]
pub struct DeviceArgument {
    /// QEMU's name for it.
    pub name: &'static str,
    /// Its properties, each with a leading comma.
    pub options: String,
    /// Where it finds us.
    pub end: End,
}

/// How QEMU reaches the device's half on our side.
#[derive(Debug)]
pub enum End {
    /// An inherited socket.
    Socket(RawFd),
    /// A socket to connect to, by a path without commas. QEMU calls it a network, which the device is then plugged into.
    Network(String),
}

/// Everything that QEMU is told.
#[derive(Debug)]
pub struct CommandLine {
    /// The QEMU to run.
    pub program: PathBuf,
    /// Number of CPUs.
    pub cpus: u8,
    /// RAM in bytes.
    pub memory_bytes: u64,
    /// Path of the kernel as QEMU opens it.
    pub kernel: String,
    /// Path of the initramfs as QEMU opens it.
    pub initramfs: String,
    /// The guest's command line without our additions.
    pub cmdline: String,
    /// The rate of the host's time stamp counter, if it is constant.
    pub tsc_khz: Option<u64>,
    /// The inherited socket of the console.
    pub console: RawFd,
    /// The inherited socket of the monitor.
    pub monitor: RawFd,
    /// In the order in which the guest finds them.
    pub devices: Vec<DeviceArgument>,
}

impl CommandLine {
    /// The command, not yet started. Its standard error is a pipe.
    pub fn build(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(self.arguments()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        // No setting of the user's shell may change the machine.
        command.env_clear();
        command
    }

    fn arguments(&self) -> Vec<OsString> {
        let mut all: Vec<OsString> = Vec::new();
        let mut pair = |name: &str, value: String| all.extend([name.into(), value.into()]);
        pair("-machine", MACHINE.into());
        pair("-accel", "tcg,thread=multi".into());
        pair("-cpu", CPU.into());
        pair("-smp", self.cpus.to_string());
        pair("-m", format!("{}K", self.memory_bytes >> 10));
        let size = self.memory_bytes;
        // Sealed, so that our mapping of it cannot be cut short; shared, or we would see a copy.
        pair("-object", format!("memory-backend-memfd,id=ram,size={size},share=on,seal=on"));
        pair("-kernel", self.kernel.clone());
        pair("-initrd", self.initramfs.clone());
        // The rate is given, so nothing needs to be measured; and no other clock is there to watch this one.
        let tsc = self.tsc_khz.map(|khz| format!(" tsc=reliable tsc_early_khz={khz}")).unwrap_or_default();
        pair("-append", format!("{} {CMDLINE}{tsc}", self.cmdline));
        // Without it, virtio-mmio speaks the draft of the specification that came before 1.0.
        pair("-global", "virtio-mmio.force-legacy=false".into());
        pair("-chardev", format!("socket,id=monitor,fd={}", self.monitor));
        pair("-mon", "chardev=monitor,mode=control".into());
        for (index, DeviceArgument { name, options, end }) in self.devices.iter().enumerate() {
            let (chardev, plug) = match end {
                End::Socket(socket) => (format!("fd={socket}"), format!("chardev=device{index}")),
                End::Network(path) => (format!("path={path}"), format!("netdev=net{index}")),
            };
            pair("-chardev", format!("socket,id=device{index},{chardev}"));
            if matches!(end, End::Network(_)) {
                pair("-netdev", format!("vhost-user,id=net{index},chardev=device{index}"));
            }
            pair("-device", format!("{name},{plug},queue_reset=off{options}"));
        }
        pair("-chardev", format!("socket,id=console,fd={}", self.console));
        pair("-device", "virtio-serial-device,max_ports=1".into());
        pair("-device", "virtconsole,chardev=console".into());
        // vhost-user has no balloon, so this one is QEMU's too. It takes what is behind reported memory out of the shared file,
        // and thereby out of our mapping of it. With two disks, network and folders it has the last of microvm's eight places.
        pair("-device", "virtio-balloon-device,free-page-reporting=on".into());
        pair("-display", "none".into());
        // QEMU needs neither further processes nor other privileges. TCG is not meant as a wall against a hostile guest,
        // so this one is.
        pair("-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny".into());
        all.extend(["-nodefaults", "-no-user-config", "-no-reboot"].map(OsString::from));
        all
    }
}

/// No firmware tables, and of the legacy devices only those without which Linux takes longer: the timer and its interrupt
/// controller, by which it measures the APIC timer (no CPUID leaf says its rate under TCG), and the clock chip, for which it
/// would otherwise wait a second or more.
const MACHINE: &str = "microvm,acpi=off,rtc=on,isa-serial=off,x-option-roms=off,memory-backend=ram";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_balloon_comes_last_and_reports_free_pages() {
        let rng = DeviceArgument { name: "vhost-user-rng", options: String::new(), end: End::Socket(9) };
        let line = CommandLine {
            program: "qemu".into(),
            cpus: 2,
            memory_bytes: 1 << 30,
            kernel: "kernel".into(),
            initramfs: "initramfs".into(),
            cmdline: "quiet".into(),
            tsc_khz: None,
            console: 7,
            monitor: 8,
            devices: vec![rng],
        };
        let words: Vec<_> = line.arguments().into_iter().map(|word| word.into_string().expect("all ASCII")).collect();
        let devices = words.windows(2).filter(|pair| pair[0] == "-device").map(|pair| pair[1].as_str());
        let expected = [
            "vhost-user-rng,chardev=device0,queue_reset=off",
            "virtio-serial-device,max_ports=1",
            "virtconsole,chardev=console",
            "virtio-balloon-device,free-page-reporting=on",
        ];
        assert_eq!(devices.collect::<Vec<_>>(), expected);
    }
}
