//! Keeps a profile's endpoint, and a machine behind it when one is wanted. Called by the daemon, which ends when this does.
//!
//! ```text
//!                     ┌────── `lighter start`, API call ──────┐
//!                     │                                       ▼
//!                  Stopped ◄── stop, or guest off ─── Starting, Running, Stopping ◄── `lighter restart`
//!                   ▲ │                               (the life of one machine: `lifecycle`)
//!                   │ │                                       │
//!        `lighter   │ │                    start failed, or guest died
//!           stop`   │ │                                       ▼
//!                   └─┼─────────────────────────────────── Broken ── `lighter start`, API call (`backoff`) ──► Starting
//!                     ▼
//!      ends: `lighter stop --quit`, `lighter delete`, a signal, its directory or a socket is gone
//! ```
//! - Stopped is *asleep*: two sockets, a lock, and what dockerd said of itself (`memory`); no machine, disk, child or thread
//!   of one. `GET` and `HEAD /_ping` and `GET /version` are answered from that memory, also while Stopping and when Broken, and
//!   wake nobody; every other call wakes. While Starting and Running everything goes to the guest.
//! - A call that comes while Stopping waits for the end and wakes then: who stops a machine stops what was, and who calls
//!   later wants it. A call that was waiting for a start that somebody stops gets an error.
//! - `lighter stop` and `lighter start` are never held up by `backoff`, and end its count.
//! - A daemon that was made by `lighter start` and fails to start its first machine ends, and leaves nothing behind.
//! - Nothing stops an idle machine; that would be one more wish to stop, sent by whoever watches the door.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::backoff::Backoff;
use super::board::Board;
use super::door::Door;
use super::fault::{Fault, chain};
use super::lifecycle::{Lifecycle, Outcome};
use super::memory::Memory;
use super::surroundings::Surroundings;
use super::wish::{Caller, Inbox, Start, Wish};
use crate::control::Phase;
use crate::forward::List;
use crate::home::Profile;
use crate::lock::Lock;
use crate::machine::Platform;
use crate::settings::{self, Host, Settings, SettingsError, Wishes};
use crate::sys::endpoint;

/// How often a daemon that is asleep looks whether its profile is still there: nobody would ever find it otherwise.
const LOOK: Duration = Duration::from_secs(30);

/// See the head of this file.
pub struct Keeper<'a> {
    /// Whose machine.
    pub profile: &'a Profile,
    /// What machines are made with.
    pub platform: Arc<dyn Platform>,
    /// Where their state is written.
    pub board: Arc<Board>,
    /// Where API connections get in.
    pub door: Arc<Door>,
    /// What dockerd says of itself.
    pub memory: Arc<Memory>,
    /// What is published.
    pub list: Arc<List>,
    /// The environment that counts.
    pub surroundings: Arc<Surroundings>,
    /// What people and programs want.
    pub inbox: Inbox,
    /// Whoever holds it keeps the profile.
    pub lock: &'a Lock,
}

impl Keeper<'_> {
    /// Until the daemon is to end. `first` are the flags of a machine that is to live at once; that it does not is an error.
    pub async fn keep(mut self, first: Option<Wishes>) -> Result<(), Fault> {
        let mut backoff = Backoff::default();
        let mut made_for_it = first.is_some();
        if made_for_it {
            self.board.begin();
        }
        let mut next = first;
        loop {
            let wishes = match next.take() {
                Some(wishes) => wishes,
                None => match self.rest(&mut backoff).await {
                    Some(wishes) => wishes,
                    None => return Ok(()),
                },
            };
            let outcome = self.live(&wishes).await;
            let reason = match outcome {
                Outcome::Failed(fault) if made_for_it => {
                    self.board.rest(Phase::Broken, Some(chain(&fault)));
                    return Err(fault);
                }
                Outcome::Ended => {
                    backoff.forgive();
                    None
                }
                Outcome::Failed(fault) => {
                    backoff.failed(Instant::now(), Duration::ZERO);
                    Some(chain(&fault))
                }
                Outcome::Died { reason, lived } => {
                    backoff.failed(Instant::now(), lived);
                    Some(reason)
                }
            };
            made_for_it = false;
            next = self.follower();
            if next.is_none() {
                let phase = if reason.is_some() { Phase::Broken } else { Phase::Stopped };
                self.board.rest(phase, reason);
                if self.inbox.quits() {
                    return Ok(());
                }
            }
        }
    }

    /// The flags of the machine that is to follow, if one is; then the board says that it starts.
    fn follower(&mut self) -> Option<Wishes> {
        let wishes = self.inbox.follower().filter(|_| !self.inbox.quits())?;
        self.board.begin_again();
        Some(wishes)
    }

    /// Without a machine, until one is wanted and the board says so; `None` when the daemon is to end.
    async fn rest(&mut self, backoff: &mut Backoff) -> Option<Wishes> {
        loop {
            let wish = tokio::select! {
                wish = self.inbox.next() => wish,
                () = tokio::time::sleep(LOOK) => {
                    if self.stands() {
                        continue;
                    }
                    tracing::warn!("The profile's directory or a socket in it is gone");
                    return None;
                }
            };
            match wish {
                Wish::Stop => {
                    backoff.forgive();
                    if let Some(wishes) = self.follower() {
                        return Some(wishes);
                    }
                    self.board.rest(Phase::Stopped, None);
                    if self.inbox.quits() {
                        return None;
                    }
                }
                Wish::Start(start) => {
                    if let Some(wishes) = self.weigh(start, backoff) {
                        return Some(wishes);
                    }
                }
            }
        }
    }

    /// Whether anybody can find this daemon.
    fn stands(&self) -> bool {
        let sockets = [self.profile.docker_socket(), self.profile.control_socket()];
        self.lock.stands() && sockets.iter().all(|socket| endpoint::stands(socket))
    }

    /// Whether to start now; the board says so before the caller hears it.
    fn weigh(&self, start: Start, backoff: &mut Backoff) -> Option<Wishes> {
        let (answer, wishes) = match start.caller {
            Caller::Person(wishes) => {
                backoff.forgive();
                (Ok(()), Some(wishes))
            }
            // Since it called, a start has come to its end: that one it was waiting for.
            Caller::Program { seen } if self.board.view().starts > seen => (Ok(()), None),
            Caller::Program { .. } => match backoff.wait(Instant::now()) {
                Some(left) => (Err(self.patience(backoff, left)), None),
                None => {
                    tracing::info!("A call of the API wants a machine");
                    (Ok(()), Some(Wishes::default()))
                }
            },
        };
        if wishes.is_some() {
            self.board.begin();
        }
        // Who has gone away has set something going all the same.
        let _ = start.answer.send(answer);
        wishes
    }

    fn patience(&self, backoff: &Backoff, left: Duration) -> String {
        let reason = self.board.view().reason.unwrap_or_default();
        format!(
            "{reason}\nThat was failure {} in a row, so the next call that may try again is one in {} s; `lighter start` tries at once",
            backoff.failures(),
            left.as_secs() + 1
        )
    }

    async fn live(&mut self, wishes: &Wishes) -> Outcome {
        let settings = match self.settings(wishes) {
            Ok(settings) => settings,
            Err(error) => return Outcome::Failed(error.into()),
        };
        self.board.size(settings.cpus, settings.memory_bytes);
        // Nobody sees what a call of the API wakes, so the log is told what `lighter start` tells a person.
        if let Some(warning) = settings.memory_warning(Host::here()) {
            tracing::warn!("{warning}");
        }
        let life = Lifecycle {
            profile: self.profile,
            settings,
            platform: Arc::clone(&self.platform),
            board: Arc::clone(&self.board),
            door: Arc::clone(&self.door),
            memory: Arc::clone(&self.memory),
            list: Arc::clone(&self.list),
            environment: self.surroundings.words(),
            inbox: &mut self.inbox,
        };
        life.live().await
    }

    /// The settings as they are now, which may be others than at the last start.
    fn settings(&self, wishes: &Wishes) -> Result<Settings, SettingsError> {
        let config = self.profile.config();
        Settings::new(&wishes.over(&settings::load(&config)?), Host::here(), &config)
    }
}
