//! The guest's CPUID: which leaves the platform asks about each time, what it is answered, and the leaves that name it
//! (Hypervisor Top-Level Functional Specification, chapter 2), from which Linux learns the frequencies. Called by the backend's
//! `partition` and `vcpu`.

use super::Clocks;
use crate::arch::cpuid::{Leaf, Policy, guest_leaf};
use crate::arch::layout::MAX_CPUS;

/// Leaves whose answer depends on the vCPU, or on what the hypervisor would say. Programs ask for some of them at each start,
/// and each time is an exit to this process, so there are no more than must be.
pub const ASKED: [u32; 13] = [
    1,
    4,
    6,
    0xa,
    0xb,
    0x1f,
    0x8000_0001,
    0x8000_0007,
    0x8000_0008,
    0x8000_000a,
    0x8000_001d,
    0x8000_001e,
    0x8000_0026,
];

/// Leaf 1, ECX: local APICs that are reached by registers. The platform is told to emulate the older ones, which our IOAPIC
/// reaches all of.
const X2APIC: u32 = 1 << 21;
/// Leaf 6, EAX: the local APIC's timer does not stop. An emulated one cannot; without the bit Linux looks for a PIT.
const ARAT: u32 = 1 << 2;
/// Leaf 0x8000_0007, EDX.
const INVARIANT_TSC: u32 = 1 << 8;

/// Parts of `WHV_SYNTHETIC_PROCESSOR_FEATURES`.
const PRESENT: u64 = 1 << 0;
const HV1: u64 = 1 << 1;
const VP_RUN_TIME: u64 = 1 << 2;
const REFERENCE_COUNTER: u64 = 1 << 3;
const HYPERCALL_REGS: u64 = 1 << 7;
const VP_INDEX: u64 = 1 << 8;
const REFERENCE_TSC: u64 = 1 << 9;
const FREQUENCY_REGS: u64 = 1 << 11;

/// What the hypervisor is asked to do for the guest: enough for clocks, no messages and no timers of its own.
pub const SYNTHETIC_FEATURES: u64 =
    PRESENT | HV1 | VP_RUN_TIME | REFERENCE_COUNTER | HYPERCALL_REGS | VP_INDEX | REFERENCE_TSC | FREQUENCY_REGS;

/// What the guest is told of these (leaf 0x4000_0003, EAX), bit by bit.
const PRIVILEGES: [(u64, u32); 3] = [(VP_RUN_TIME, 1 << 0), (REFERENCE_COUNTER, 1 << 1), (REFERENCE_TSC, 1 << 9)];
/// What it is told in any case: hypercalls and processor numbers, without which Linux takes it for no Hyper-V; frequencies and
/// the invariant time stamp counter, which `msr` answers for where the hypervisor does not. Without the last Linux would
/// use no clock but its ticks.
const ALWAYS: u32 = 1 << 5 | 1 << 6 | 1 << 11 | 1 << 15;
/// Leaf 0x4000_0003, EDX: the frequencies can be read.
const FREQUENCIES: u32 = 1 << 8;

/// Parts of `WHV_PROCESSOR_FEATURES1`.
const TSC_INVARIANT: u64 = 1 << 1;
const NESTED_VIRTUALISATION: u64 = 1 << 6;

/// The features of a processor that the guest gets, of those in the hypervisor's two banks: all, with an invariant time stamp
/// counter, which it would leave out for the sake of migration, and without hypervisors in the guest.
pub fn processor_features([bank0, bank1]: [u64; 2]) -> [u64; 2] {
    [bank0, bank1 & !NESTED_VIRTUALISATION | TSC_INVARIANT]
}

/// The first leaf of a hypervisor, and the last of these.
const FIRST: u32 = 0x4000_0000;
const LAST: u32 = 0x4000_0006;

/// The leaves that name the hypervisor, where it does `synthetic` for the guest.
pub fn named(synthetic: u64) -> [Leaf; 7] {
    let leaf = |offset, [eax, ebx, ecx, edx]: [u32; 4]| Leaf {
        function: FIRST + offset,
        eax,
        ebx,
        ecx,
        edx,
        ..Leaf::default()
    };
    let word = u32::from_le_bytes;
    let granted = PRIVILEGES.into_iter().filter(|(feature, _)| synthetic & feature != 0);
    let privileges = granted.fold(ALWAYS, |all, (_, privilege)| all | privilege);
    [
        leaf(0, [LAST, word(*b"Micr"), word(*b"osof"), word(*b"t Hv")]),
        leaf(1, [word(*b"Hv#1"), 0, 0, 0]),
        // Its version, which no Linux acts on.
        leaf(2, [0; 4]),
        leaf(3, [privileges, 0, 0, FREQUENCIES]),
        // Nothing is recommended, least of all to tell of long waits for a lock.
        leaf(4, [0, u32::MAX, 0, 0]),
        // Virtual and logical processors at most.
        leaf(5, [MAX_CPUS.into(), MAX_CPUS.into(), 0, 0]),
        leaf(6, [0; 4]),
    ]
}

/// The answer to one question that the hypervisor itself would answer with `default`.
pub fn answer(default: Leaf, policy: Policy) -> Leaf {
    let mut leaf = guest_leaf(default, policy);
    match leaf.function {
        1 => leaf.ecx &= !X2APIC,
        6 => leaf.eax |= ARAT,
        0x8000_0007 => leaf.edx |= INVARIANT_TSC,
        _ => {}
    }
    leaf
}

/// Frequencies, of which one that the platform does not tell is left to what others make of it.
pub fn clocks(tsc: Option<u64>, apic: Option<u64>) -> Clocks {
    Clocks { tsc: tsc.unwrap_or(0), apic: apic.unwrap_or(DEFAULT_APIC_FREQUENCY) }
}

/// In Hz: that of all Hyper-V machines.
const DEFAULT_APIC_FREQUENCY: u64 = 200_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: Policy = Policy { apic_id: 1, cpus: 2, tsc_deadline: false };

    fn default(function: u32, eax: u32, ecx: u32, edx: u32) -> Leaf {
        Leaf { function, eax, ecx, edx, ..Leaf::default() }
    }

    #[test]
    fn linux_finds_a_hyper_v_with_frequencies() {
        let leaves = named(SYNTHETIC_FEATURES);
        assert_eq!(leaves[0].eax, 0x4000_0006);
        let name = [leaves[0].ebx, leaves[0].ecx, leaves[0].edx].map(u32::to_le_bytes).concat();
        assert_eq!(name, b"Microsoft Hv");
        assert_eq!(leaves[1].eax, 0x3123_7648);
        assert_eq!((leaves[3].eax, leaves[3].edx), (0x8a63, 0x100));
        assert!((0x4000_0000..).zip(leaves).all(|(function, leaf)| leaf.function == function));
    }

    #[test]
    fn what_the_hypervisor_does_not_do_is_not_promised() {
        let privileges = |synthetic| named(synthetic)[3].eax;
        assert_eq!(privileges(0), 0x8860);
        assert_eq!(privileges(REFERENCE_TSC), 0x8a60);
        assert_eq!(SYNTHETIC_FEATURES, 0xb8f);
    }

    #[test]
    fn each_vcpu_has_its_own_number_and_no_x2apic() {
        let leaf = answer(default(1, 0, X2APIC | 1, 0), POLICY);
        assert_eq!((leaf.ebx >> 24, leaf.ecx), (1, 1 << 31 | 1));
        assert_eq!(answer(Leaf { index: 1, indexed: true, ..default(0xb, 0, 0, 77) }, POLICY).edx, 1);
    }

    #[test]
    fn timers_and_clocks_go_on() {
        assert_eq!(answer(default(6, 0, 0, 0), POLICY).eax, 1 << 2);
        assert_eq!(answer(default(0x8000_0007, 0, 0, 0), POLICY).edx, 1 << 8);
        assert_eq!(clocks(None, None), Clocks { tsc: 0, apic: 200_000_000 });
        assert_eq!(clocks(Some(3), Some(4)), Clocks { tsc: 3, apic: 4 });
    }

    #[test]
    fn a_guest_has_no_hypervisors_and_a_steady_clock() {
        assert_eq!(processor_features([5, 1 << 6 | 1]), [5, 0b11]);
    }

    #[test]
    fn other_leaves_are_the_hypervisors_own() {
        let leaf = default(7, 1, 2, 3);
        assert_eq!(answer(leaf, POLICY), leaf);
        assert!(ASKED.windows(2).all(|pair| pair[0] < pair[1]) && !ASKED.contains(&7));
    }
}
