//! `/dev/kvm`: opening it with errors that name the cure, and making machines. Called by `launch` and `probe`.

use std::io::{Error, ErrorKind};

use kvm_ioctls::Cap;

use super::vm::KvmVm;
use crate::config::EngineKind;
use crate::hv::{HvError, Hypervisor, Unusable};
use crate::memory::GuestMemory;

/// The API version that has been current since Linux 2.6.22.
const API_VERSION: i32 = 12;
/// What the backend cannot do without, each with a name for people.
const NEEDED: [(Cap, &str); 6] = [
    (Cap::UserMemory, "user memory"),
    (Cap::SplitIrqchip, "split irqchip"),
    (Cap::SignalMsi, "signal MSI"),
    (Cap::Ioeventfd, "ioeventfd"),
    (Cap::ImmediateExit, "immediate exit"),
    (Cap::ExtCpuid, "extended CPUID"),
];

/// An open `/dev/kvm`.
pub struct Kvm {
    fd: kvm_ioctls::Kvm,
}

impl Kvm {
    /// Opens and checks `/dev/kvm`.
    pub fn open() -> Result<Self, Unusable> {
        let fd = kvm_ioctls::Kvm::new().map_err(|error| refusal(&Error::from_raw_os_error(error.errno())))?;
        let version = fd.get_api_version();
        if version != API_VERSION {
            return Err(unusable(
                format!("/dev/kvm speaks API version {version}, not {API_VERSION}"),
                "use a Linux kernel with an ordinary KVM",
            ));
        }
        if let Some((_, name)) = NEEDED.iter().find(|(cap, _)| !fd.check_extension(*cap)) {
            return Err(unusable(
                format!("/dev/kvm lacks a feature that lighter needs ({name})"),
                "use a Linux kernel of 4.12 or later with an ordinary KVM",
            ));
        }
        Ok(Self { fd })
    }

    /// The file itself, for the probe.
    pub fn fd(&self) -> &kvm_ioctls::Kvm {
        &self.fd
    }
}

impl Hypervisor for Kvm {
    type Vm = KvmVm;
    const NAME: &'static str = "kvm";

    fn create_vm(&self, memory: GuestMemory, cpus: u8) -> Result<KvmVm, HvError> {
        KvmVm::new(&self.fd, memory, cpus)
    }
}

/// Why KVM cannot be used.
pub fn unusable(reason: String, cure: &str) -> Unusable {
    Unusable { engine: EngineKind::Kvm, reason, cure: cure.into() }
}

fn refusal(error: &Error) -> Unusable {
    match error.kind() {
        ErrorKind::NotFound => unusable(
            "/dev/kvm does not exist".into(),
            "switch on virtualisation in the firmware (or nested virtualisation for this VM) and load kvm_intel or kvm_amd",
        ),
        ErrorKind::PermissionDenied => unusable(
            "/dev/kvm may not be opened by this user".into(),
            "add yourself to the group kvm (`sudo usermod -aG kvm $USER`) and log in again",
        ),
        _ => unusable(format!("/dev/kvm cannot be opened: {error}"), "see `dmesg` for what KVM says"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c8_a_missing_device_and_a_forbidden_one_name_their_cures() {
        let missing = refusal(&Error::from_raw_os_error(libc::ENOENT)).to_string();
        assert!(missing.contains("does not exist") && missing.contains("firmware"), "{missing}");
        let forbidden = refusal(&Error::from_raw_os_error(libc::EACCES)).to_string();
        assert!(forbidden.contains("group kvm"), "{forbidden}");
        let other = refusal(&Error::from_raw_os_error(libc::EBUSY)).to_string();
        assert!(other.contains("cannot be opened") && !other.contains('\n'), "{other}");
    }
}
