//! A partition's properties, kept as the bytes that were given. Contract: WHvSetPartitionProperty (E_INVALIDARG when a
//! property cannot be changed any more, WHV_E_UNKNOWN_PROPERTY for what this system does not have),
//! WHvGetPartitionProperty. Used by `exports` and `partition`.

use std::collections::BTreeMap;

use windows_sys::Win32::Foundation::{WHV_E_INSUFFICIENT_BUFFER, WHV_E_UNKNOWN_PROPERTY};
use windows_sys::Win32::System::Hypervisor::*;

use crate::result::{Hr, INVALID, Result};

/// How a property's value is laid out.
enum Layout {
    /// So many bytes; a longer buffer, such as the whole union, is fine.
    Value(usize),
    /// Any number of entries of so many bytes.
    List(usize),
}

/// The properties that there are, and whether each may be set after the partition was set up.
#[expect(non_upper_case_globals, reason = "Windows' names")]
fn layout(code: i32) -> Option<(Layout, bool)> {
    use Layout::{List, Value};
    Some(match code {
        WHvPartitionPropertyCodeExtendedVmExits
        | WHvPartitionPropertyCodeExceptionExitBitmap
        | WHvPartitionPropertyCodeX64MsrExitBitmap => (Value(8), true),
        WHvPartitionPropertyCodeCpuidExitList => (List(4), true),
        WHvPartitionPropertyCodeCpuidResultList => (List(size_of::<WHV_X64_CPUID_RESULT>()), false),
        WHvPartitionPropertyCodeProcessorFeaturesBanks => (Value(size_of::<WHV_PROCESSOR_FEATURES_BANKS>()), false),
        WHvPartitionPropertyCodeSyntheticProcessorFeaturesBanks => {
            (Value(size_of::<WHV_SYNTHETIC_PROCESSOR_FEATURES_BANKS>()), false)
        }
        WHvPartitionPropertyCodeProcessorFeatures
        | WHvPartitionPropertyCodeProcessorXsaveFeatures
        | WHvPartitionPropertyCodeProcessorClockFrequency
        | WHvPartitionPropertyCodeInterruptClockFrequency
        | WHvPartitionPropertyCodeReferenceTime => (Value(8), false),
        WHvPartitionPropertyCodeProcessorCount
        | WHvPartitionPropertyCodeLocalApicEmulationMode
        | WHvPartitionPropertyCodeSeparateSecurityDomain
        | WHvPartitionPropertyCodeNestedVirtualization
        | WHvPartitionPropertyCodeApicRemoteReadSupport => (Value(4), false),
        WHvPartitionPropertyCodeProcessorClFlushSize => (Value(1), false),
        _ => return None,
    })
}

/// The values that were set.
#[derive(Debug, Default)]
pub struct Properties {
    values: BTreeMap<i32, Vec<u8>>,
}

impl Properties {
    /// Sets one; `late`: the partition is set up.
    pub fn set(&mut self, code: i32, bytes: &[u8], late: bool) -> Result<()> {
        let (layout, at_any_time) = layout(code).ok_or(Hr(WHV_E_UNKNOWN_PROPERTY))?;
        if late && !at_any_time {
            return Err(INVALID);
        }
        let value = match layout {
            Layout::Value(size) => bytes.get(..size).ok_or(INVALID)?,
            Layout::List(size) if bytes.len().is_multiple_of(size) => bytes,
            Layout::List(_) => return Err(INVALID),
        };
        self.values.insert(code, value.to_vec());
        Ok(())
    }

    /// Copies one to a buffer; its size. What was never set is zeros.
    pub fn get(&self, code: i32, buffer: &mut [u8]) -> Result<usize> {
        let (layout, _) = layout(code).ok_or(Hr(WHV_E_UNKNOWN_PROPERTY))?;
        let zeros = match layout {
            Layout::Value(size) => vec![0; size],
            Layout::List(_) => Vec::new(),
        };
        let value = self.values.get(&code).unwrap_or(&zeros);
        buffer.get_mut(..value.len()).ok_or(Hr(WHV_E_INSUFFICIENT_BUFFER))?.copy_from_slice(value);
        Ok(value.len())
    }

    /// A value's first eight bytes as a number.
    pub fn number(&self, code: i32) -> u64 {
        let mut number = [0; 8];
        let value = self.values.get(&code).map(Vec::as_slice).unwrap_or_default();
        let count = value.len().min(8);
        number[..count].copy_from_slice(&value[..count]);
        u64::from_le_bytes(number)
    }

    /// The first bank of the synthetic features; the number of banks comes before it.
    pub fn synthetic_features(&self) -> u64 {
        let value = self.values.get(&WHvPartitionPropertyCodeSyntheticProcessorFeaturesBanks);
        let bank = value.and_then(|value| value.get(8..16)).and_then(|bank| bank.try_into().ok());
        bank.map_or(0, u64::from_le_bytes)
    }

    /// The static results of CPUID.
    pub fn cpuid_results(&self) -> Vec<WHV_X64_CPUID_RESULT> {
        let value = self.values.get(&WHvPartitionPropertyCodeCpuidResultList).map(Vec::as_slice).unwrap_or_default();
        let word = |entry: &[u8], at: usize| entry[at * 4..][..4].try_into().map_or(0, u32::from_le_bytes);
        let entries = value.chunks_exact(size_of::<WHV_X64_CPUID_RESULT>());
        let result = |entry: &[u8]| WHV_X64_CPUID_RESULT {
            Function: word(entry, 0),
            Reserved: [0; 3],
            Eax: word(entry, 4),
            Ebx: word(entry, 5),
            Ecx: word(entry, 6),
            Edx: word(entry, 7),
        };
        entries.map(result).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_kept_lists_are_whole_and_most_are_fixed_by_setting_up() {
        let mut properties = Properties::default();
        properties.set(WHvPartitionPropertyCodeProcessorCount, &[2, 0, 0, 0, 9, 9], false).unwrap();
        assert_eq!(properties.number(WHvPartitionPropertyCodeProcessorCount), 2);
        assert_eq!(properties.set(WHvPartitionPropertyCodeProcessorCount, &[2; 4], true), Err(INVALID));
        assert_eq!(properties.set(WHvPartitionPropertyCodeCpuidResultList, &[0; 31], false), Err(INVALID));
        properties.set(WHvPartitionPropertyCodeCpuidExitList, &[1, 0, 0, 0], true).unwrap();
        assert_eq!(properties.set(0x7777, &[], false), Err(Hr(WHV_E_UNKNOWN_PROPERTY)));
        assert_eq!(
            properties.get(WHvPartitionPropertyCodeProcessorCount, &mut [0; 3]),
            Err(Hr(WHV_E_INSUFFICIENT_BUFFER))
        );
    }
}
