//! The platform as a whole: finding it with errors that name the cure, what the hypervisor can do, and making machines. Called
//! by `launch` and `probe`.

use windows_sys::Win32::System::Hypervisor::*;

use super::api::Api;
use super::partition::Partition;
use super::properties;
use super::vm::WhpVm;
use crate::hv::foreign::whp::Clocks;
use crate::hv::foreign::whp::cpuid::clocks;
use crate::hv::foreign::whp::refusal::{INIT_SIPI_EXIT, Missing, examine, unusable};
use crate::hv::foreign::whp::result::check;
use crate::hv::{HvError, Hypervisor, Unusable};
use crate::memory::GuestMemory;

/// What the hypervisor says that it can do.
#[derive(Debug, Clone, Copy)]
pub struct Capabilities {
    /// `WHV_EXTENDED_VM_EXITS`.
    pub exits: u64,
    /// `WHV_SYNTHETIC_PROCESSOR_FEATURES`.
    pub synthetic_features: u64,
    /// `WHV_PROCESSOR_FEATURES` and `WHV_PROCESSOR_FEATURES1`, where it has both.
    pub processor_features: Option<[u64; 2]>,
    /// Frequencies.
    pub clocks: Clocks,
}

/// The platform, found and looked at.
pub struct Whp {
    api: &'static Api,
    capabilities: Capabilities,
}

impl Whp {
    /// Looks for the platform.
    pub fn open() -> Result<Self, Unusable> {
        Self::look().map_err(unusable)
    }

    fn look() -> Result<Self, Missing> {
        let api = Api::get()?;
        let ask = |name, code| first(capability::<1>(api, name, code));
        let present = ask("WHvGetCapability(HypervisorPresent)", WHvCapabilityCodeHypervisorPresent);
        // The answer is 32 bits; the rest of the buffer is as it was.
        if present.map_err(|error| Missing::Answer(told(&error)))? == 0 {
            return Err(Missing::Hypervisor);
        }
        let features = ask("WHvGetCapability(Features)", WHvCapabilityCodeFeatures);
        let exits = ask("WHvGetCapability(ExtendedVmExits)", WHvCapabilityCodeExtendedVmExits);
        let (features, exits) = (features.unwrap_or(0), exits.unwrap_or(0));
        examine(features, exits)?;
        let synthetic = capability::<2>(
            api,
            "WHvGetCapability(SyntheticProcessorFeaturesBanks)",
            WHvCapabilityCodeSyntheticProcessorFeaturesBanks,
        );
        let processor =
            capability::<3>(api, "WHvGetCapability(ProcessorFeaturesBanks)", WHvCapabilityCodeProcessorFeaturesBanks);
        let tsc = ask("WHvGetCapability(ProcessorClockFrequency)", WHvCapabilityCodeProcessorClockFrequency);
        let apic = ask("WHvGetCapability(InterruptClockFrequency)", WHvCapabilityCodeInterruptClockFrequency);
        let capabilities = Capabilities {
            exits,
            synthetic_features: synthetic.map_or(0, |[_, bank]| bank),
            // The first word's lower half is the number of banks.
            processor_features: processor.ok().filter(|[count, ..]| *count as u32 == 2).map(|[_, a, b]| [a, b]),
            clocks: clocks(tsc.ok(), apic.ok()),
        };
        tracing::debug!(features, ?capabilities, "found the Windows Hypervisor Platform");
        Ok(Self { api, capabilities })
    }

    /// Makes a partition of one processor as a machine would, and gives it back.
    pub fn try_out(&self) -> Result<(), Unusable> {
        let made =
            Partition::create(self.api).and_then(|partition| properties::set_up(&partition, &self.capabilities, 1));
        made.map_err(|error| unusable(Missing::Answer(told(&error))))
    }
}

impl Hypervisor for Whp {
    type Vm = WhpVm;
    const NAME: &'static str = "whp";

    fn create_vm(&self, memory: GuestMemory, cpus: u8) -> Result<WhpVm, HvError> {
        if cpus > 1 && self.capabilities.exits & INIT_SIPI_EXIT == 0 {
            let text =
                "this Windows cannot start more than one CPU of a guest; use Windows 11, or `lighter start --cpus 1`";
            return Err(HvError { call: "Starting processors", source: std::io::Error::other(text) });
        }
        WhpVm::new(self.api, &self.capabilities, memory, cpus)
    }
}

/// Asks for a capability of at most `N` times eight bytes. What is not answered is zero.
fn capability<const N: usize>(api: &Api, call: &'static str, code: WHV_CAPABILITY_CODE) -> Result<[u64; N], HvError> {
    let mut words = [0u64; N];
    let mut written = 0;
    let size = size_of_val(&words) as u32;
    // SAFETY: the words are written, at most as many bytes as they have.
    let result = unsafe { (api.platform.get_capability)(code, words.as_mut_ptr().cast(), size, &raw mut written) };
    check(call, result).map(|()| words)
}

fn first(words: Result<[u64; 1], HvError>) -> Result<u64, HvError> {
    words.map(|[word]| word)
}

/// An error with what is behind it, in one line.
fn told(error: &HvError) -> String {
    format!("{error} ({})", error.source)
}
