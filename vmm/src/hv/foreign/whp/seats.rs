//! Who runs, who waits for a start, and who was kicked: one seat per vCPU, taken by the thread that runs it. The platform
//! starts no processor by itself, so those that wait do so here.
//!
//! ```text
//!   empty ──occupy──► running ◄──next gives Start── waiting ◄──occupy── empty      vacate: empty, from anywhere
//!                        └──────────init──────────────►│  ▲
//!                                                      └──┘ startup: the page is kept for `next`
//!   kick in any state: pending is set, `next` gives Kicked once
//!   inside, from `next` giving Enter until `left`: a kick and an init cancel the run
//! ```
//! A run is cancelled under the seat's lock, so that nothing else is done with the vCPU meanwhile, least of all its end. The
//! platform remembers a cancellation that comes between `next` and the entry; if it comes between the exit and `left`, the next
//! run ends for no reason.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Every vCPU's seat.
pub struct Seats(Vec<(Mutex<Seat>, Condvar)>);

#[derive(Default)]
struct Seat {
    pending: bool,
    inside: bool,
    state: State,
}

#[derive(Default, Clone, Copy)]
enum State {
    #[default]
    Empty,
    Running,
    Waiting(Option<u8>),
}

/// What the thread in a seat does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Come back: there was a kick.
    Kicked,
    /// Set the processor up to start at this page, and ask again.
    Start(u8),
    /// Enter the guest.
    Enter,
}

impl Seats {
    /// `count` empty seats.
    pub fn new(count: u8) -> Self {
        Self((0..count).map(|_| Default::default()).collect())
    }

    /// Takes seat `index`: the first processor runs at once, the others wait to be started.
    pub fn occupy(&self, index: u8) {
        self.lock(index).state = if index == 0 { State::Running } else { State::Waiting(None) };
    }

    /// Gives the seat up; later kicks only set `pending`.
    pub fn vacate(&self, index: u8) {
        let mut seat = self.lock(index);
        (seat.inside, seat.state) = (false, State::Empty);
    }

    /// Says that the thread has come back from the guest.
    pub fn left(&self, index: u8) {
        self.lock(index).inside = false;
    }

    /// Makes the vCPU's thread come back, now or as soon as it asks for the next thing to do. `cancel` ends a run of it.
    pub fn kick(&self, index: u8, cancel: impl FnOnce()) {
        let mut seat = self.lock(index);
        seat.pending = true;
        if seat.inside {
            cancel();
        }
        self.0[usize::from(index)].1.notify_all();
    }

    /// Makes the processor wait for a start. `cancel` ends a run of it.
    pub fn init(&self, index: u8, cancel: impl FnOnce()) {
        let mut seat = self.lock(index);
        if matches!(seat.state, State::Empty) {
            return;
        }
        if seat.inside {
            cancel();
        }
        seat.state = State::Waiting(None);
    }

    /// Starts the processor at `page` if it waits; one that runs takes no notice (SDM vol. 3 §9.4.4).
    pub fn startup(&self, index: u8, page: u8) {
        let mut seat = self.lock(index);
        if matches!(seat.state, State::Waiting(None)) {
            seat.state = State::Waiting(Some(page));
            self.0[usize::from(index)].1.notify_all();
        }
    }

    /// Blocks while the processor waits for its start. After [`Next::Enter`] comes [`left`](Self::left).
    pub fn next(&self, index: u8) -> Next {
        let mut seat = self.lock(index);
        loop {
            if std::mem::take(&mut seat.pending) {
                return Next::Kicked;
            }
            match seat.state {
                State::Waiting(Some(page)) => {
                    seat.state = State::Running;
                    return Next::Start(page);
                }
                State::Waiting(None) => {
                    let woken = self.0[usize::from(index)].1.wait(seat);
                    seat = woken.unwrap_or_else(PoisonError::into_inner);
                }
                State::Running | State::Empty => {
                    seat.inside = true;
                    return Next::Enter;
                }
            }
        }
    }

    fn lock(&self, index: u8) -> MutexGuard<'_, Seat> {
        // No part of a seat is without meaning beside any other, so it is whole even after a panic elsewhere.
        self.0[usize::from(index)].0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::sync::Arc;

    use super::*;

    fn cancelled(act: impl FnOnce(&dyn Fn())) -> bool {
        let cancelled = Cell::new(false);
        act(&|| cancelled.set(true));
        cancelled.get()
    }

    #[test]
    fn a_kick_before_the_vcpu_is_there_is_kept_and_many_count_as_one() {
        let seats = Seats::new(1);
        assert!(!cancelled(|cancel| seats.kick(0, cancel)));
        seats.occupy(0);
        assert!(!cancelled(|cancel| seats.kick(0, cancel)));
        assert_eq!((seats.next(0), seats.next(0)), (Next::Kicked, Next::Enter));
    }

    #[test]
    fn only_a_run_is_cancelled() {
        let seats = Seats::new(1);
        seats.occupy(0);
        assert_eq!(seats.next(0), Next::Enter);
        assert!(cancelled(|cancel| seats.kick(0, cancel)));
        seats.left(0);
        assert!(!cancelled(|cancel| seats.kick(0, cancel)), "it has come back already");
        assert_eq!((seats.next(0), seats.next(0)), (Next::Kicked, Next::Enter));
        seats.vacate(0);
        assert!(!cancelled(|cancel| seats.kick(0, cancel)), "and now it is gone");
    }

    #[test]
    fn a_processor_starts_once_however_often_it_is_told() {
        let seats = Seats::new(2);
        seats.occupy(1);
        assert!(!cancelled(|cancel| seats.init(1, cancel)), "it does not run yet");
        seats.startup(1, 0x9a);
        seats.startup(1, 0x77);
        assert_eq!((seats.next(1), seats.next(1)), (Next::Start(0x9a), Next::Enter));
        seats.startup(1, 0x77);
        assert_eq!(seats.next(1), Next::Enter);
    }

    #[test]
    fn a_processor_that_runs_is_made_to_wait_and_started_anew() {
        let seats = Seats::new(1);
        seats.occupy(0);
        assert_eq!(seats.next(0), Next::Enter);
        assert!(cancelled(|cancel| seats.init(0, cancel)));
        seats.left(0);
        seats.startup(0, 0x10);
        assert!(!cancelled(|cancel| seats.kick(0, cancel)));
        assert_eq!((seats.next(0), seats.next(0), seats.next(0)), (Next::Kicked, Next::Start(0x10), Next::Enter));
    }

    #[test]
    fn an_order_to_a_seat_that_is_empty_is_lost() {
        let seats = Seats::new(1);
        assert!(!cancelled(|cancel| seats.init(0, cancel)));
        seats.startup(0, 0x10);
        seats.occupy(0);
        assert_eq!(seats.next(0), Next::Enter);
    }

    #[test]
    fn one_that_waits_wakes_for_its_start_and_for_a_kick() {
        let seats = Arc::new(Seats::new(2));
        seats.occupy(1);
        let thread = {
            let seats = Arc::clone(&seats);
            std::thread::spawn(move || [seats.next(1), seats.next(1)])
        };
        seats.kick(1, || panic!("it does not run"));
        // Whether the kick or the start comes first, neither is lost.
        seats.startup(1, 0x33);
        assert_eq!(thread.join().expect("no panic"), [Next::Kicked, Next::Start(0x33)]);
    }
}
