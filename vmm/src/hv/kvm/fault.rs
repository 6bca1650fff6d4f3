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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dax::tests::{Page, noted, showing, with_unreadable};

    fn at(rip: u64) -> kvm_regs {
        kvm_regs { rip, ..kvm_regs::default() }
    }

    #[test]
    fn d1_without_a_window_a_fault_is_fatal_at_once() {
        assert!(!Faults::default().may_go_on(at(7), &[]));
    }

    #[test]
    fn d1_a_file_that_was_cut_is_mended_and_the_guest_goes_on() {
        let (window, pages) = noted();
        let file = showing(&window, 4);
        file.set_len(1).expect("cut");
        let mut faults = Faults::default();
        let windows = [noted().0, Arc::clone(&window)];
        assert!(faults.may_go_on(at(7), &windows));
        assert_eq!(pages.lock().expect("unpoisoned")[1..4], [Page::Zero; 3]);
        // Another processor that met the same finds nothing, and goes on as well.
        assert!(Faults::default().may_go_on(at(7), &windows));
    }

    #[test]
    fn d1_a_fault_for_which_there_is_no_reason_is_fatal_unless_the_guest_gets_on() {
        let (window, _) = noted();
        let _file = showing(&window, 4);
        let windows = [window];
        let mut faults = Faults::default();
        assert!((0..3 * u64::from(RETRIES)).all(|step| faults.may_go_on(at(step), &windows)), "each at another place");
        let mut faults = Faults::default();
        assert!((0..RETRIES).all(|_| faults.may_go_on(at(7), &windows)));
        assert!(!faults.may_go_on(at(7), &windows));
    }

    #[test]
    fn d1_what_cannot_be_read_is_given_up_after_many_tries_only() {
        let (window, pages) = with_unreadable(2);
        let _file = showing(&window, 4);
        let windows = [window];
        let mut faults = Faults::default();
        assert!((0..RETRIES).all(|_| faults.may_go_on(at(7), &windows)));
        assert!(matches!(pages.lock().expect("unpoisoned")[2], Page::File { .. }), "not as long as it may come back");
        assert!(faults.may_go_on(at(7), &windows));
        assert_eq!(pages.lock().expect("unpoisoned")[2], Page::Zero);
        assert!(windows[0].has_lost(1) && !windows[0].has_lost(2));
    }
}
