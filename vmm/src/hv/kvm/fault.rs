//! What a vCPU does when KVM could not reach memory that the guest used (`EFAULT`). KVM does not say where, and the guest does
//! the same access again when it goes on. Called by `vcpu`, which asks it once per fault.
//!
//! ```text
//!   fault ─► mend the windows ──something changed──────────────────────────────────► go on
//!                  │ nothing
//!                  ├──the guest has moved since the last fault, or tried it RETRIES times less──► go on: a file that was cut
//!                  │                                                                              short is long again by now
//!                  ├──give up what cannot be read or written──something was found──► go on
//!                  └──nothing: memory where nothing is, or no window at all──► fatal
//! ```

use std::sync::Arc;

use kvm_bindings::kvm_regs;

use crate::dax::Window;

/// How often an access is tried again without anything being found wrong: a file may be cut and long again each time that one
/// looks, but not as often as this.
const RETRIES: u32 = 1000;

/// One vCPU's faults.
#[derive(Debug, Default)]
pub struct Faults {
    /// Registers at the last fault for which nothing was found, and how often they were the same in a row.
    last: Option<(kvm_regs, u32)>,
}

impl Faults {
    /// Whether the guest may go on, of which `registers` are those at the fault.
    pub fn may_go_on(&mut self, registers: kvm_regs, windows: &[Arc<Window>]) -> bool {
        // Each of them, whatever the others say.
        let mended = windows.iter().filter(|window| window.mend()).count();
        if mended > 0 {
            self.last = None;
            return true;
        }
        if windows.is_empty() {
            return false;
        }
        let times = match self.last {
            Some((last, times)) if last == registers => times + 1,
            _ => 1,
        };
        self.last = Some((registers, times));
        if times <= RETRIES {
            return true;
        }
        self.last = None;
        windows.iter().filter(|window| window.give_up()).count() > 0
    }
}
