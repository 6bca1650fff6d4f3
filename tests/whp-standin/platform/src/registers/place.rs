//! Where KVM keeps what WHP gives a name. Contract: the page "WHV_REGISTER_NAME". Pure; used by `registers`.

use windows_sys::Win32::System::Hypervisor::*;

/// A register's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Index into KVM's general registers.
    General(usize),
    /// Instruction pointer.
    Rip,
    /// Flags.
    Rflags,
    /// Segments, tables, control registers, EFER, APIC base: by WHP's name.
    Special(i32),
    /// A model-specific register by its number.
    Msr(u32),
    /// x87 and SSE: by WHP's name.
    Float(i32),
    /// DR0 to DR3, DR6, DR7.
    Debug(usize),
    /// Extended state mask.
    Xcr0,
    /// Local APIC register by its offset in the page.
    Apic(usize),
    /// Pending events and activity: by WHP's name.
    Event(i32),
}

/// WHP counts RAX RCX RDX RBX RSP RBP RSI RDI, KVM RAX RBX RCX RDX RSI RDI RSP RBP.
const GENERAL: [usize; 16] = [0, 2, 3, 1, 6, 7, 4, 5, 8, 9, 10, 11, 12, 13, 14, 15];

impl Place {
    /// The place of a name, if there is one.
    #[expect(non_upper_case_globals, reason = "Windows' names")]
    pub fn of(name: i32) -> Option<Self> {
        let from = |first: i32| (name - first) as u32;
        Some(match name {
            WHvX64RegisterRax..=WHvX64RegisterR15 => Self::General(GENERAL[name as usize]),
            WHvX64RegisterRip => Self::Rip,
            WHvX64RegisterRflags => Self::Rflags,
            WHvX64RegisterEs..=WHvX64RegisterCr8 | WHvX64RegisterEfer | WHvX64RegisterApicBase => Self::Special(name),
            WHvX64RegisterDr0..=WHvX64RegisterDr7 => Self::Debug((name - WHvX64RegisterDr0) as usize),
            WHvX64RegisterXCr0 => Self::Xcr0,
            WHvX64RegisterXmm0..=WHvX64RegisterXmm15
            | WHvX64RegisterFpMmx0..=WHvX64RegisterFpMmx7
            | WHvX64RegisterFpControlStatus
            | WHvX64RegisterXmmControlStatus => Self::Float(name),
            WHvX64RegisterApicId..=WHvX64RegisterApicDivide => Self::Apic(from(0x3000) as usize * 16),
            WHvRegisterPendingInterruption
            | WHvRegisterInterruptState
            | WHvRegisterPendingEvent
            | WHvX64RegisterDeliverabilityNotifications
            | WHvRegisterInternalActivityState => Self::Event(name),
            _ => Self::Msr(msr(name)?),
        })
    }
}

/// The number of a register that is model-specific (SDM vol. 4, and the TLFS for the synthetic ones).
#[expect(non_upper_case_globals, reason = "Windows' names")]
fn msr(name: i32) -> Option<u32> {
    let from = |first: i32| (name - first) as u32;
    Some(match name {
        WHvX64RegisterTsc => 0x10,
        WHvX64RegisterTscAdjust => 0x3b,
        WHvX64RegisterSpecCtrl => 0x48,
        WHvX64RegisterMsrMtrrCap => 0xfe,
        WHvX64RegisterSysenterCs => 0x174,
        WHvX64RegisterSysenterEsp => 0x175,
        WHvX64RegisterSysenterEip => 0x176,
        WHvX64RegisterMsrMtrrPhysBase0..=WHvX64RegisterMsrMtrrPhysBaseF => {
            0x200 + 2 * from(WHvX64RegisterMsrMtrrPhysBase0)
        }
        WHvX64RegisterMsrMtrrPhysMask0..=WHvX64RegisterMsrMtrrPhysMaskF => {
            0x201 + 2 * from(WHvX64RegisterMsrMtrrPhysMask0)
        }
        WHvX64RegisterMsrMtrrFix64k00000 => 0x250,
        WHvX64RegisterMsrMtrrFix16k80000 => 0x258,
        WHvX64RegisterMsrMtrrFix16kA0000 => 0x259,
        WHvX64RegisterMsrMtrrFix4kC0000..=WHvX64RegisterMsrMtrrFix4kF8000 => {
            0x268 + from(WHvX64RegisterMsrMtrrFix4kC0000)
        }
        WHvX64RegisterPat => 0x277,
        WHvX64RegisterMsrMtrrDefType => 0x2ff,
        WHvX64RegisterTscDeadline => 0x6e0,
        WHvX64RegisterXss => 0xda0,
        WHvX64RegisterStar => 0xc000_0081,
        WHvX64RegisterLstar => 0xc000_0082,
        WHvX64RegisterCstar => 0xc000_0083,
        WHvX64RegisterSfmask => 0xc000_0084,
        WHvX64RegisterKernelGsBase => 0xc000_0102,
        WHvX64RegisterTscAux => 0xc000_0103,
        WHvRegisterGuestOsId => 0x4000_0000,
        WHvX64RegisterHypercall => 0x4000_0001,
        WHvRegisterVpRuntime => 0x4000_0010,
        WHvRegisterReferenceTsc => 0x4000_0021,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_to_their_places() {
        assert_eq!(Place::of(WHvX64RegisterRbx), Some(Place::General(1)));
        assert_eq!(Place::of(WHvX64RegisterRsi), Some(Place::General(4)));
        assert_eq!(Place::of(WHvX64RegisterApicIrr7), Some(Place::Apic(0x270)));
        assert_eq!(Place::of(WHvX64RegisterMsrMtrrPhysMask1), Some(Place::Msr(0x203)));
        assert_eq!(Place::of(WHvX64RegisterMsrMtrrFix4kF8000), Some(Place::Msr(0x26f)));
        assert_eq!(Place::of(WHvX64RegisterDr7), Some(Place::Debug(5)));
        assert_eq!(Place::of(WHvRegisterSint0), None);
    }
}
