//! What a call of the platform says: an HRESULT, in words where it is one of the platform's own (winerror.h). Used by every
//! file of the backend that makes calls.

use crate::hv::HvError;
use crate::memory::LESS_MEMORY;

/// An HRESULT that says no.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("HRESULT {:#010x}{}", .0.cast_unsigned(), meaning(*.0))]
pub struct Refused(pub i32);

/// The platform's own, and those of Windows that users are likely to meet.
const MEANINGS: &[(u32, &str)] = &[
    (0x8007_0005, "access is denied"),
    (0x8007_000e, "out of memory"),
    (0x8007_0057, "an argument is not taken"),
    (0x8007_05aa, "out of system resources"),
    (0x8037_0300, "the capability is not known to this Windows"),
    (0x8037_0301, "the buffer is too small"),
    (0x8037_0302, "the property is not known to this Windows"),
    (0x8037_0303, "this hypervisor is not fit for it"),
    (0x8037_0304, "the partition's properties do not go together"),
    (0x8037_0305, "there is no such guest memory"),
    (0x8037_0306, "the virtual processor exists already"),
    (0x8037_0307, "there is no such virtual processor"),
    (0x8037_0308, "the virtual processor is in another state"),
    (0x8037_0309, "there is no such register"),
    (0x8037_0310, "the processor is not fit for it"),
];

/// Those that say that the host has no memory to give.
const SHORT: [u32; 2] = [0x8007_000e, 0x8007_05aa];

fn meaning(result: i32) -> String {
    let known = MEANINGS.iter().find(|(code, _)| *code == result.cast_unsigned());
    let words = known.map(|(_, words)| format!(" ({words})")).unwrap_or_default();
    if SHORT.contains(&result.cast_unsigned()) { format!("{words}: {LESS_MEMORY}") } else { words }
}

/// Makes an error of what `call` returned, if it is one.
pub fn check(call: &'static str, result: i32) -> Result<(), HvError> {
    if result >= 0 { Ok(()) } else { Err(HvError { call, source: std::io::Error::other(Refused(result)) }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn success_of_any_kind_is_no_error() {
        assert!(check("WHvRunVirtualProcessor", 0).is_ok());
        assert!(check("WHvRunVirtualProcessor", 1).is_ok());
    }

    #[test]
    fn a_refusal_names_the_call_the_number_and_its_meaning() {
        let error = check("WHvSetPartitionProperty", 0x8037_0302_u32.cast_signed()).expect_err("negative");
        let source = std::error::Error::source(&error).expect("what the platform said").to_string();
        assert_eq!(error.to_string(), "WHvSetPartitionProperty failed");
        assert_eq!(source, "HRESULT 0x80370302 (the property is not known to this Windows)");
        assert_eq!(Refused(0x8000_4005_u32.cast_signed()).to_string(), "HRESULT 0x80004005");
    }

    #[test]
    fn c2_memory_that_windows_does_not_give_is_refused_with_the_way_out() {
        let said = Refused(0x8007_000e_u32.cast_signed()).to_string();
        assert_eq!(said, format!("HRESULT 0x8007000e (out of memory): {LESS_MEMORY}"));
    }

    #[test]
    fn each_number_has_one_meaning() {
        assert!(MEANINGS.windows(2).all(|pair| pair[0].0 < pair[1].0), "in order, none twice");
    }
}
