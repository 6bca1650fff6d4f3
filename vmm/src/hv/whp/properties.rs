//! What a partition is set up with: processors, local APICs, exits, CPUID. The platform takes these before the first
//! processor is made, and never after. Called by `vm` and by the probe.

use windows_sys::Win32::System::Hypervisor::*;

use super::partition::Partition;
use super::system::Capabilities;
use crate::hv::HvError;
use crate::hv::foreign::whp::cpuid;
use crate::hv::foreign::whp::refusal::{CPUID_EXIT, INIT_SIPI_EXIT, MSR_EXIT};

/// `WHV_X64_MSR_EXIT_BITMAP`: registers that the hypervisor does not know. Otherwise the guest would fault on them.
const UNHANDLED_MSRS: u64 = 1 << 0;

/// Sets `partition` up for `cpus` processors.
pub fn set_up(partition: &Partition, capabilities: &Capabilities, cpus: u8) -> Result<(), HvError> {
    let set = |call, code, value: u64| partition.set(call, code, &[value]);
    partition.set(
        "WHvSetPartitionProperty(ProcessorCount)",
        WHvPartitionPropertyCodeProcessorCount,
        &[u32::from(cpus)],
    )?;
    partition.set(
        "WHvSetPartitionProperty(LocalApicEmulationMode)",
        WHvPartitionPropertyCodeLocalApicEmulationMode,
        &[WHvX64LocalApicEmulationModeXApic],
    )?;
    let exits = (CPUID_EXIT | MSR_EXIT | INIT_SIPI_EXIT) & capabilities.exits;
    set("WHvSetPartitionProperty(ExtendedVmExits)", WHvPartitionPropertyCodeExtendedVmExits, exits)?;
    partition.set("WHvSetPartitionProperty(CpuidExitList)", WHvPartitionPropertyCodeCpuidExitList, &cpuid::ASKED)?;
    // A Windows without one of these still runs a guest, only a less happy one.
    let optional = |result: Result<(), HvError>| {
        if let Err(error) = result {
            let said = std::error::Error::source(&error).map(ToString::to_string);
            tracing::debug!(%error, said, "the machine goes without this property");
        }
    };
    optional(set(
        "WHvSetPartitionProperty(X64MsrExitBitmap)",
        WHvPartitionPropertyCodeX64MsrExitBitmap,
        UNHANDLED_MSRS,
    ));
    if let Some(features) = capabilities.processor_features {
        let [bank0, bank1] = cpuid::processor_features(features);
        optional(partition.set(
            "WHvSetPartitionProperty(ProcessorFeaturesBanks)",
            WHvPartitionPropertyCodeProcessorFeaturesBanks,
            &[2, bank0, bank1],
        ));
    }
    let synthetic = cpuid::SYNTHETIC_FEATURES & capabilities.synthetic_features;
    optional(partition.set(
        "WHvSetPartitionProperty(SyntheticProcessorFeaturesBanks)",
        WHvPartitionPropertyCodeSyntheticProcessorFeaturesBanks,
        &[1, synthetic],
    ));
    partition.set(
        "WHvSetPartitionProperty(CpuidResultList)",
        WHvPartitionPropertyCodeCpuidResultList,
        &cpuid::named(synthetic).map(|leaf| WHV_X64_CPUID_RESULT {
            Function: leaf.function,
            Eax: leaf.eax,
            Ebx: leaf.ebx,
            Ecx: leaf.ecx,
            Edx: leaf.edx,
            ..Default::default()
        }),
    )?;
    partition.set_up()
}
