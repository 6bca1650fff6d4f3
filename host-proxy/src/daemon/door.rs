//! The door into the guest. API clients wait before it while the machine starts, and ring for one if there is none; `lighter
//! shell` and `logs` only look whether it is open. `keeper` and `lifecycle` open and close it.
//!
//! ```text
//!   a call finds    Running           goes in
//!                   Starting          waits: goes in, or hears why not
//!                   Stopping          waits for the end, and then is as one that came later
//!                   Stopped, Broken   rings; hears why the keeper will not even try, or waits as for Starting
//! ```
//! Whoever waited for a machine that somebody stops meanwhile hears that, and does not ring again.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::board::Board;
use super::memory::Memory;
use super::wish::{Caller, Wants};
use crate::control::Phase;
use crate::docker::known::Known;
use crate::guest::{BoxFuture, BoxedStream, GuestDialer};
use crate::machine::Machine;
use crate::shares::Shares;
use crate::sys::endpoint;

/// How long it may take until everybody knows of a machine that it is dead.
const NEWS: Duration = Duration::from_millis(500);
const ENDED: &str = "The machine has just ended";

/// What the door leads to.
#[derive(Clone)]
struct Inside {
    machine: Arc<dyn Machine>,
    shares: Arc<Shares>,
}

/// See the head of this file.
pub struct Door {
    board: Arc<Board>,
    memory: Arc<Memory>,
    wants: Wants,
    inside: Mutex<Option<Inside>>,
    sockets: Vec<String>,
}

impl Door {
    /// Shut. `address` is where clients come from.
    pub fn new(board: Arc<Board>, memory: Arc<Memory>, wants: Wants, address: &Path) -> Door {
        let sockets = endpoint::paths(address);
        Door { board, memory, wants, inside: Mutex::new(None), sockets }
    }

    /// The guest serves from now on, with these folders of the host.
    pub fn open(&self, machine: Arc<dyn Machine>, shares: Arc<Shares>) {
        *self.lock() = Some(Inside { machine, shares });
    }

    /// It does not any more.
    pub fn close(&self) {
        *self.lock() = None;
    }

    fn lock(&self) -> MutexGuard<'_, Option<Inside>> {
        // An Option has no broken state.
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Goes in if it is open, or waits while the machine starts; starts none.
    pub async fn look(&self, port: u32) -> io::Result<BoxedStream> {
        let none = "The machine is not running: start it by `lighter start`";
        match self.board.phase() {
            Phase::Starting => self.wait().await?,
            Phase::Running => (),
            Phase::Stopped | Phase::Stopping | Phase::Broken => return Err(refused(none)),
        }
        // Not held across the dial.
        let inside = self.lock().clone();
        inside.ok_or_else(|| refused(none))?.machine.dial(port).await
    }

    /// A call of the API.
    async fn call(&self, port: u32) -> io::Result<BoxedStream> {
        let mut died = false;
        loop {
            let (inside, seen) = self.enter().await?;
            let dialled = match inside {
                Some(inside) => inside.machine.dial(port).await,
                None => Err(refused(ENDED)),
            };
            if dialled.is_ok() || died {
                return dialled;
            }
            // It may have died just now; then the call, of which it got nothing, is one for the next machine.
            died = true;
            let mut board = self.board.watch();
            let news = board.wait_for(|view| view.phase != Phase::Running || view.starts != seen || view.over);
            if !matches!(tokio::time::timeout(NEWS, news).await, Ok(Ok(_))) {
                return dialled;
            }
        }
    }

    /// Waits for a machine that serves, and rings for one if there is none: what is inside, and the board's count of starts
    /// before it.
    async fn enter(&self) -> io::Result<(Option<Inside>, u64)> {
        let (phase, seen) = {
            let mut board = self.board.watch();
            let view = board.wait_for(|view| view.phase != Phase::Stopping || view.over).await;
            let view = view.map_err(io::Error::other)?;
            if view.over {
                return Err(refused("lighter is ending"));
            }
            (view.phase, view.starts)
        };
        match phase {
            Phase::Running => (),
            Phase::Starting | Phase::Stopping => self.wait().await?,
            Phase::Stopped | Phase::Broken => {
                self.wants.start(Caller::Program { seen }).await.map_err(refused)?;
                self.wait().await?;
            }
        }
        Ok((self.lock().clone(), seen))
    }

    /// Waits for the end of a start, which has deadlines of its own.
    async fn wait(&self) -> io::Result<()> {
        let mut board = self.board.watch();
        let view = board.wait_for(|view| view.phase != Phase::Starting || view.over).await.map_err(io::Error::other)?;
        match (view.phase, &view.reason) {
            (Phase::Running, _) => Ok(()),
            (Phase::Broken, Some(reason)) => Err(refused(reason.clone())),
            (Phase::Broken, None) => Err(refused("The machine is broken")),
            (Phase::Starting | Phase::Stopping | Phase::Stopped, _) => {
                Err(refused("The machine was stopped while it was starting"))
            }
        }
    }
}

fn refused(reason: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, reason.into())
}

impl GuestDialer for Door {
    fn dial(&self, port: u32) -> BoxFuture<'_, io::Result<BoxedStream>> {
        Box::pin(self.call(port))
    }

    fn remembered(&self) -> Option<Arc<Known>> {
        match self.board.phase() {
            Phase::Stopping | Phase::Stopped | Phase::Broken => self.memory.recall(),
            Phase::Starting | Phase::Running => None,
        }
    }

    fn own_sockets(&self) -> &[String] {
        &self.sockets
    }

    fn shares(&self) -> BoxFuture<'_, io::Result<Arc<Shares>>> {
        Box::pin(async { self.enter().await?.0.map(|inside| inside.shares).ok_or_else(|| refused(ENDED)) })
    }
}
