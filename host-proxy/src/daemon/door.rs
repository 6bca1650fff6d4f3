//! The door into the guest for API clients and `lighter shell`: shut while the machine starts, so that they wait; open
//! while it runs; locked with a reason when there is no machine any more. Opened and closed by `lifecycle`.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::board::Board;
use crate::control::Phase;
use crate::guest::{BoxFuture, BoxedStream, GuestDialer};
use crate::machine::Machine;

/// See the head of this file.
pub struct Door {
    board: Arc<Board>,
    machine: Mutex<Option<Arc<dyn Machine>>>,
}

impl Door {
    /// Shut.
    pub fn new(board: Arc<Board>) -> Door {
        Door { board, machine: Mutex::new(None) }
    }

    /// The guest serves from now on.
    pub fn open(&self, machine: Arc<dyn Machine>) {
        *self.lock() = Some(machine);
    }

    /// It does not any more.
    pub fn close(&self) {
        *self.lock() = None;
    }

    fn lock(&self) -> MutexGuard<'_, Option<Arc<dyn Machine>>> {
        // An Option has no broken state.
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits while the machine starts, which has deadlines of its own.
    async fn enter(&self, port: u32) -> io::Result<BoxedStream> {
        let mut board = self.board.watch();
        let view = board.wait_for(|view| view.phase != Phase::Starting).await;
        let reason = view.map_err(io::Error::other)?.reason.clone();
        // Not held across the dial.
        let machine = self.lock().clone();
        match machine {
            Some(machine) => machine.dial(port).await,
            None => {
                let reason = reason.unwrap_or_else(|| "The machine is being stopped".to_owned());
                Err(io::Error::new(io::ErrorKind::NotConnected, reason))
            }
        }
    }
}

impl GuestDialer for Door {
    fn dial(&self, port: u32) -> BoxFuture<'_, io::Result<BoxedStream>> {
        Box::pin(self.enter(port))
    }
}
