//! Model-specific registers that the hypervisor does not know and asks about: the frequencies, if it has none to give itself,
//! and for everything else what hardware without a use for it would do: zero, and nothing. Called by the backend's `vcpu`.

use super::Clocks;

/// Hyper-V's own registers (Hypervisor Top-Level Functional Specification, appendix on synthetic MSRs).
const TSC_FREQUENCY: u32 = 0x4000_0022;
const APIC_FREQUENCY: u32 = 0x4000_0023;
/// Says that the guest knows the time stamp counter to be invariant, which it is.
const TSC_INVARIANT_CONTROL: u32 = 0x4000_0118;

/// What is known of a register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    /// What is read.
    pub value: u64,
    /// Whether this was meant, and not a guess for the log.
    pub known: bool,
}

/// What the guest reads from register `number`.
pub fn read(number: u32, clocks: Clocks) -> Answer {
    let known = |value| Answer { value, known: true };
    match number {
        TSC_FREQUENCY => known(clocks.tsc),
        APIC_FREQUENCY => known(clocks.apic),
        TSC_INVARIANT_CONTROL => known(1),
        _ => Answer { value: 0, known: false },
    }
}

/// Whether what the guest writes to register `number` is meant to be taken without effect.
pub fn write_is_known(number: u32) -> bool {
    number == TSC_INVARIANT_CONTROL
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_frequencies_are_told_and_others_read_as_zero() {
        let clocks = Clocks { tsc: 2_900_000_000, apic: 200_000_000 };
        assert_eq!(read(0x4000_0022, clocks), Answer { value: 2_900_000_000, known: true });
        assert_eq!(read(0x4000_0023, clocks), Answer { value: 200_000_000, known: true });
        assert_eq!(read(0x1a2, clocks), Answer { value: 0, known: false });
        assert!(write_is_known(0x4000_0118) && !write_is_known(0x1a2) && !write_is_known(0x4000_0022));
    }
}
