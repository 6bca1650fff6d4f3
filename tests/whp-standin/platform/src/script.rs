//! What the environment asks of the stand-in, read once. Used by `exports` for each call, and where access exits are made.
//!
//! - `WHP_STANDIN_ABSENT=1`: the optional feature is off: `HypervisorPresent` is false and no partition can be made.
//! - `WHP_STANDIN_FAIL=NAME:N:HRESULT,...`: the N-th call (from 1) of the function NAME fails once with the HRESULT (hex),
//!   and does nothing else. `WHvMapGpaRange:2:8007000e` makes the second mapping fail for want of memory.
//! - `WHP_STANDIN_MMIO=bytes|emulator`: whether a memory access exit carries the instruction's bytes (`bytes`, the default),
//!   so that a backend may decode it, or none (`emulator`), so that it has to call the emulator.
//! - `WHP_STANDIN_TRACE=1`: failed calls and exits to standard error.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::result::Hr;

/// One planned failure.
struct Planned {
    function: String,
    nth: u32,
    result: Hr,
    calls: AtomicU32,
}

/// The environment's wishes.
pub struct Script {
    /// The hypervisor is not there.
    pub absent: bool,
    /// Exits carry no instruction bytes.
    pub no_bytes: bool,
    /// Talk.
    pub trace: bool,
    planned: Vec<Planned>,
}

/// The wishes of this process.
pub fn script() -> &'static Script {
    static SCRIPT: OnceLock<Script> = OnceLock::new();
    SCRIPT.get_or_init(|| Script::read(|name| std::env::var(name).ok()))
}

impl Script {
    fn read(variable: impl Fn(&str) -> Option<String>) -> Self {
        let on = |name: &str| variable(name).is_some_and(|value| value == "1");
        let failures = variable("WHP_STANDIN_FAIL").unwrap_or_default();
        let planned = failures.split(',').filter(|word| !word.is_empty());
        let planned = planned.map(|word| plan(word).unwrap_or_else(|| panic!("WHP_STANDIN_FAIL: `{word}`"))).collect();
        let no_bytes = match variable("WHP_STANDIN_MMIO").as_deref() {
            None | Some("bytes") => false,
            Some("emulator") => true,
            Some(other) => panic!("WHP_STANDIN_MMIO: `{other}`"),
        };
        Self { absent: on("WHP_STANDIN_ABSENT"), no_bytes, trace: on("WHP_STANDIN_TRACE"), planned }
    }

    /// Counts a call of `function`; the failure that is planned for it.
    pub fn failure(&self, function: &str) -> Option<Hr> {
        let mine = self.planned.iter().filter(|planned| planned.function == function);
        mine.fold(None, |failure, planned| {
            let call = planned.calls.fetch_add(1, Ordering::Relaxed) + 1;
            failure.or((call == planned.nth).then_some(planned.result))
        })
    }
}

fn plan(word: &str) -> Option<Planned> {
    let mut parts = word.split(':');
    let (function, nth, result) = (parts.next()?, parts.next()?, parts.next()?);
    let result = u32::from_str_radix(result.trim_start_matches("0x"), 16).ok()?;
    let planned = Planned {
        function: function.to_owned(),
        nth: nth.parse().ok()?,
        result: Hr(result as i32),
        calls: AtomicU32::new(0),
    };
    parts.next().is_none().then_some(planned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_planned_call_fails_once_and_no_other_does() {
        let script = Script::read(|name| {
            (name == "WHP_STANDIN_FAIL").then(|| "WHvMapGpaRange:2:0x8007000e,WHvSetupPartition:1:80004005".to_owned())
        });
        let calls: Vec<_> = (0..3).map(|_| script.failure("WHvMapGpaRange")).collect();
        assert_eq!(calls, [None, Some(Hr(0x8007_000e_u32 as i32)), None]);
        assert_eq!(script.failure("WHvSetupPartition"), Some(Hr(0x8000_4005_u32 as i32)));
        assert_eq!(script.failure("WHvCreatePartition"), None);
    }

    #[test]
    fn without_wishes_nothing_is_changed() {
        let script = Script::read(|_| None);
        assert!(!script.absent && !script.no_bytes && !script.trace);
    }
}
