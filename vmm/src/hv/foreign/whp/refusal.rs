//! Why the platform cannot be used here, with what helps. Called by the backend's `system`, which `launch` and the probe
//! open first.

use crate::config::EngineKind;
use crate::hv::Unusable;

/// What switches the platform on: of the three lines each user will know one.
const ENABLE: &str = "enable Windows Hypervisor Platform: `Enable-WindowsOptionalFeature -Online -FeatureName HypervisorPlatform` \
                      in PowerShell as administrator, or \"Turn Windows features on or off\", then restart";

/// `WHV_CAPABILITY_FEATURES`: the hypervisor has local APICs.
const LOCAL_APIC: u64 = 1 << 1;
/// `WHV_EXTENDED_VM_EXITS`: each access to CPUID and to model-specific registers can be answered here.
pub const CPUID_EXIT: u64 = 1 << 0;
/// See [`CPUID_EXIT`].
pub const MSR_EXIT: u64 = 1 << 1;
/// `WHV_EXTENDED_VM_EXITS`: messages that start processors are delivered here.
pub const INIT_SIPI_EXIT: u64 = 1 << 6;

/// What was found missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Missing {
    /// A library, so that the feature is off.
    Library(&'static str),
    /// A function in a library, so that Windows is old.
    Function(&'static str),
    /// A running hypervisor.
    Hypervisor,
    /// Something that the hypervisor could have.
    Capability(&'static str),
    /// An answer: a call failed, with what it said.
    Answer(String),
}

/// Looks through `WHV_CAPABILITY_FEATURES` and `WHV_EXTENDED_VM_EXITS`.
pub fn examine(features: u64, exits: u64) -> Result<(), Missing> {
    if features & LOCAL_APIC == 0 {
        return Err(Missing::Capability("local APICs"));
    }
    if exits & CPUID_EXIT == 0 {
        return Err(Missing::Capability("exits for CPUID"));
    }
    if exits & MSR_EXIT == 0 {
        return Err(Missing::Capability("exits for model-specific registers"));
    }
    Ok(())
}

/// Says it to the user.
pub fn unusable(missing: Missing) -> Unusable {
    let nested = || format!("{ENABLE}; in a virtual machine, nested virtualisation must be on");
    let (reason, cure) = match missing {
        Missing::Library(name) => (format!("Windows Hypervisor Platform is off ({name} is not there)"), nested()),
        Missing::Hypervisor => (
            "Windows Hypervisor Platform says that no hypervisor is running".into(),
            format!("switch on virtualisation in the firmware, and {}", nested()),
        ),
        Missing::Function(name) => {
            (format!("Windows Hypervisor Platform is too old (it has no {name})"), "use Windows 11".into())
        }
        Missing::Capability(name) => {
            (format!("The hypervisor of this Windows lacks what lighter needs ({name})"), "use Windows 11".into())
        }
        Missing::Answer(text) => (format!("Windows Hypervisor Platform does not make a machine: {text}"), nested()),
    };
    Unusable { engine: EngineKind::Whp, reason, cure }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c8_each_refusal_is_one_line_with_its_cure() {
        let all = [
            Missing::Library("WinHvPlatform.dll"),
            Missing::Function("WHvMapGpaRange"),
            Missing::Hypervisor,
            Missing::Capability("local APICs"),
            Missing::Answer("WHvSetupPartition failed".into()),
        ];
        for missing in all {
            let text = unusable(missing.clone()).to_string();
            assert!(!text.contains('\n') && !text.contains("  "), "{text}");
            let old = matches!(missing, Missing::Function(_) | Missing::Capability(_));
            assert_eq!(text.contains("Windows 11"), old, "{text}");
            assert_eq!(text.contains("HypervisorPlatform`") && text.contains("nested"), !old, "{text}");
        }
    }

    #[test]
    fn what_the_hypervisor_can_do_is_looked_through() {
        let needed = CPUID_EXIT | MSR_EXIT;
        assert_eq!(examine(LOCAL_APIC, needed), Ok(()));
        assert_eq!(examine(!0, !0), Ok(()));
        for (features, exits) in [(0, needed), (LOCAL_APIC, CPUID_EXIT), (LOCAL_APIC, MSR_EXIT)] {
            assert!(matches!(examine(features, exits), Err(Missing::Capability(_))));
        }
    }
}
