//! What the guest's CPUID says: the host's features minus nested virtualisation, with one socket of `cpus` single-thread
//! cores and each vCPU's own APIC id. Pure; the backend supplies the host's table and installs the result per vCPU.

/// One answer of CPUID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Leaf {
    /// EAX asked for.
    pub function: u32,
    /// ECX asked for.
    pub index: u32,
    /// Whether `index` matters for this function.
    pub indexed: bool,
    /// EAX answered.
    pub eax: u32,
    /// EBX answered.
    pub ebx: u32,
    /// ECX answered.
    pub ecx: u32,
    /// EDX answered.
    pub edx: u32,
}

/// What the backend can add to the host's features.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// This vCPU's APIC id.
    pub apic_id: u8,
    /// vCPUs of the machine.
    pub cpus: u8,
    /// The local APIC's timer takes TSC deadlines although the host's table does not say so.
    pub tsc_deadline: bool,
}

/// Leaf 1, ECX.
const VMX: u32 = 1 << 5;
const TSC_DEADLINE: u32 = 1 << 24;
const HYPERVISOR: u32 = 1 << 31;
/// Leaf 1, EDX: more than one logical processor in the package.
const HTT: u32 = 1 << 28;
/// Leaf 0x8000_0001, ECX.
const SVM: u32 = 1 << 2;
const CMP_LEGACY: u32 = 1 << 1;
const TOPOLOGY_EXTENSIONS: u32 = 1 << 22;

/// Levels of leaf 0xb (SDM vol. 2, CPUID).
const LEVEL_SMT: u32 = 1;
const LEVEL_CORE: u32 = 2;

/// The guest's table for one vCPU from what the host supports.
pub fn guest_table(host: &[Leaf], policy: Policy) -> Vec<Leaf> {
    let extended_topology = |leaf: &&Leaf| matches!(leaf.function, 0xb | 0x1f | 0x8000_0026);
    let mut table: Vec<Leaf> = host.iter().filter(|leaf| !extended_topology(leaf)).copied().collect();
    table.iter_mut().for_each(|leaf| adjust(leaf, policy));
    let highest = host.iter().filter(|leaf| leaf.function < 0x4000_0000).map(|leaf| leaf.function).max();
    if highest >= Some(0xb) {
        table.extend(topology(policy));
    }
    if let Some(first) = table.iter_mut().find(|leaf| leaf.function == 0) {
        // Leaves whose topology would be the host's are gone; the highest one left must not be beyond.
        first.eax = first.eax.min(0x1e);
    }
    table
}

/// The guest's answer to one question to which the host's is `host`, for a hypervisor that asks each time. Where a table would
/// leave a leaf out, it is empty.
pub fn guest_leaf(host: Leaf, policy: Policy) -> Leaf {
    let Leaf { function, index, indexed, .. } = host;
    let empty = Leaf { function, index, indexed, ..Leaf::default() };
    match function {
        // A level that there is not still says whose question it answers (SDM vol. 2, CPUID).
        0xb => topology(policy).into_iter().find(|level| level.index == index).unwrap_or(Leaf {
            ecx: index & 0xff,
            edx: policy.apic_id.into(),
            ..empty
        }),
        0x1f | 0x8000_0026 => empty,
        _ => {
            let mut leaf = host;
            adjust(&mut leaf, policy);
            leaf
        }
    }
}

fn adjust(leaf: &mut Leaf, policy: Policy) {
    let cpus = u32::from(policy.cpus);
    let id = u32::from(policy.apic_id);
    match leaf.function {
        1 => {
            leaf.ebx = leaf.ebx & 0xff00 | id << 24 | cpus << 16;
            leaf.ecx = leaf.ecx & !VMX | HYPERVISOR;
            if policy.tsc_deadline {
                leaf.ecx |= TSC_DEADLINE;
            }
            leaf.edx = if cpus > 1 { leaf.edx | HTT } else { leaf.edx & !HTT };
        }
        // Caches: shared by one core, except the last level by all; one package of `cpus` cores.
        4 => {
            let level = leaf.eax >> 5 & 7;
            let sharing = if level >= 3 { ids(cpus) - 1 } else { 0 };
            if leaf.eax & 0x1f != 0 {
                leaf.eax = leaf.eax & 0x3fff | sharing << 14 | (ids(cpus) - 1).min(63) << 26;
            }
        }
        0x8000_0001 => {
            leaf.ecx &= !(SVM | CMP_LEGACY | TOPOLOGY_EXTENSIONS);
            if cpus > 1 {
                leaf.ecx |= CMP_LEGACY;
            }
        }
        0x8000_0008 => leaf.ecx = leaf.ecx & !0xf0ff | (cpus - 1) | ids(cpus).trailing_zeros() << 12,
        // Performance counters: no use in this guest, and every access would be an exit.
        0xa => (leaf.eax, leaf.ebx, leaf.ecx, leaf.edx) = (0, 0, 0, 0),
        // SVM's own leaf, and AMD's topology leaves that TOPOLOGY_EXTENSIONS announces.
        0x8000_000a | 0x8000_001d | 0x8000_001e => (leaf.eax, leaf.ebx, leaf.ecx, leaf.edx) = (0, 0, 0, 0),
        _ => {}
    }
}

/// How many APIC ids a package of `cpus` takes: the next power of two.
fn ids(cpus: u32) -> u32 {
    cpus.next_power_of_two()
}

/// Leaf 0xb: one thread per core, `cpus` cores, this vCPU's id.
fn topology(policy: Policy) -> [Leaf; 3] {
    let cpus = u32::from(policy.cpus);
    let edx = policy.apic_id.into();
    let level = |index, eax, ebx, kind: u32| Leaf {
        function: 0xb,
        index,
        indexed: true,
        eax,
        ebx,
        ecx: index | kind << 8,
        edx,
    };
    [level(0, 0, 1, LEVEL_SMT), level(1, ids(cpus).trailing_zeros(), cpus, LEVEL_CORE), level(2, 0, 0, 0)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host() -> Vec<Leaf> {
        let leaf = |function, ecx, edx| Leaf { function, ecx, edx, ..Leaf::default() };
        vec![
            Leaf { eax: 0x1f, ..leaf(0, 0, 0) },
            Leaf { ebx: 0x0710_0800, ..leaf(1, VMX | 1, 0) },
            Leaf { eax: 0x1c00_4121, indexed: true, ..leaf(4, 0, 0) },
            Leaf { edx: 77, indexed: true, ..leaf(0xb, 0, 0) },
            leaf(0x1f, 0, 77),
            leaf(0x4000_0000, 0x4d56_4b4b, 0),
            leaf(0x8000_0001, SVM | TOPOLOGY_EXTENSIONS, 0),
            leaf(0x8000_0008, 0, 0),
        ]
    }

    #[test]
    fn single_answers_are_those_of_the_table() {
        for policy in
            [Policy { apic_id: 0, cpus: 1, tsc_deadline: false }, Policy { apic_id: 2, cpus: 3, tsc_deadline: true }]
        {
            let table = guest_table(&host(), policy);
            for leaf in host().into_iter().filter(|leaf| !matches!(leaf.function, 0 | 0x1f)) {
                assert_eq!(guest_leaf(leaf, policy), find(&table, leaf.function, leaf.index));
            }
            let beyond = guest_leaf(Leaf { function: 0xb, index: 7, indexed: true, ebx: 9, ..Leaf::default() }, policy);
            assert_eq!((beyond.eax, beyond.ebx, beyond.ecx, beyond.edx), (0, 0, 7, policy.apic_id.into()));
            assert_eq!(guest_leaf(Leaf { function: 0x1f, edx: 77, ..Leaf::default() }, policy).edx, 0);
        }
    }

    fn find(table: &[Leaf], function: u32, index: u32) -> Leaf {
        *table.iter().find(|leaf| leaf.function == function && leaf.index == index).expect("present")
    }

    #[test]
    fn nested_virtualisation_is_hidden_and_the_hypervisor_shown() {
        let table = guest_table(&host(), Policy { apic_id: 0, cpus: 1, tsc_deadline: true });
        let features = find(&table, 1, 0);
        assert_eq!(features.ecx, 1 | TSC_DEADLINE | HYPERVISOR);
        assert_eq!(find(&table, 0x8000_0001, 0).ecx & SVM, 0);
        assert_eq!(find(&table, 0x4000_0000, 0).ecx, 0x4d56_4b4b, "paravirtual leaves stay");
    }

    #[test]
    fn every_vcpu_gets_its_own_apic_id_and_the_same_topology() {
        for apic_id in 0..3 {
            let table = guest_table(&host(), Policy { apic_id, cpus: 3, tsc_deadline: false });
            assert_eq!(find(&table, 1, 0).ebx, u32::from(apic_id) << 24 | 3 << 16 | 0x0800);
            let core = find(&table, 0xb, 1);
            assert_eq!((core.eax, core.ebx, core.ecx, core.edx), (2, 3, 0x201, apic_id.into()));
            assert_eq!(find(&table, 0x8000_0008, 0).ecx, 2 | 2 << 12);
            assert!(table.iter().all(|leaf| leaf.function != 0x1f));
        }
    }

    #[test]
    fn leaves_that_the_host_lacks_are_not_invented() {
        let table = guest_table(&host()[..3], Policy { apic_id: 0, cpus: 1, tsc_deadline: false });
        assert!(table.iter().all(|leaf| leaf.function != 0xb));
    }
}
