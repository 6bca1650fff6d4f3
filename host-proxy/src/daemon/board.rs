//! The board on which the daemon writes how its machine is, for everybody who wants to read or wait: API clients that wait
//! for the guest, watchers of a start, `status`. Only `lifecycle` writes.

use std::collections::BTreeMap;
use std::time::Instant;

use tokio::sync::{Notify, watch};

use crate::control::{Phase, Stage};
use crate::plain;

/// Most stages that are kept: a guest that reports more is not believed.
const MOST_STAGES: usize = 64;
/// Room for the stages of our own that come after those of the guest.
const OUR_STAGES: usize = 16;

/// What stands on the board.
#[derive(Debug, Clone)]
pub struct View {
    /// Where the machine is in its life.
    pub phase: Phase,
    /// Why it is broken, or what is wrong.
    pub reason: Option<String>,
    /// Stages so far.
    pub stages: Vec<Stage>,
    /// The engine's name once it is chosen.
    pub engine: Option<String>,
    /// Versions by name.
    pub versions: BTreeMap<String, String>,
    /// Nothing more will be written: the daemon ends.
    pub over: bool,
}

/// The board.
#[derive(Debug)]
pub struct Board {
    since: Instant,
    view: watch::Sender<View>,
    heard: Notify,
}

impl Board {
    /// A new start; `since` is when the daemon's process began.
    pub fn new(since: Instant) -> Board {
        let versions = BTreeMap::from([("lighter".to_owned(), env!("CARGO_PKG_VERSION").to_owned())]);
        let view =
            View { phase: Phase::Starting, reason: None, stages: Vec::new(), engine: None, versions, over: false };
        Board { since, view: watch::Sender::new(view), heard: Notify::new() }
    }

    /// Writes a stage of our own; those of a stop always find room.
    pub fn stage(&self, name: &str, text: &str) {
        self.add(name, text, None, MOST_STAGES + OUR_STAGES);
    }

    /// Writes a stage that the guest reported.
    pub fn guest_stage(&self, name: &str, text: &str, uptime_ms: u64) {
        let name: String = plain::one_line(name).chars().take(40).collect();
        self.add(&name, &plain::one_line(text), Some(uptime_ms), MOST_STAGES);
    }

    fn add(&self, name: &str, text: &str, guest_ms: Option<u64>, most: usize) {
        let host_ms = u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX);
        let stage = Stage { name: name.to_owned(), text: text.to_owned(), host_ms, guest_ms };
        self.view.send_if_modified(|view| {
            let room = view.stages.len() < most;
            if room {
                tracing::info!(stage = name, host_ms, guest_ms, "{text}");
                view.stages.push(stage);
            }
            room
        });
    }

    /// Writes a new phase.
    pub fn enter(&self, phase: Phase, reason: Option<String>) {
        tracing::info!(phase = phase.name(), reason, "State");
        self.view.send_modify(|view| {
            view.phase = phase;
            view.reason = reason;
        });
    }

    /// Writes the last phase.
    pub fn end(&self, phase: Phase, reason: Option<String>) {
        self.view.send_modify(|view| view.over = true);
        self.enter(phase, reason);
    }

    /// Writes what is wrong with a machine that goes on running, or that nothing is any more.
    pub fn complain(&self, reason: Option<String>) {
        self.view.send_modify(|view| view.reason = reason);
    }

    /// Writes what was found out about the engine and the guest.
    pub fn learn(&self, engine: Option<&str>, versions: impl IntoIterator<Item = (String, String)>) {
        self.view.send_modify(|view| {
            if let Some(engine) = engine {
                view.engine = Some(engine.to_owned());
            }
            view.versions.extend(versions);
        });
    }

    /// Somebody who watched the start knows how it ended.
    pub fn told(&self) {
        self.heard.notify_one();
    }

    /// Waits until somebody knows.
    pub async fn heard(&self) {
        self.heard.notified().await;
    }

    /// What stands there now.
    pub fn view(&self) -> View {
        self.view.borrow().clone()
    }

    /// Tells of every change.
    pub fn watch(&self) -> watch::Receiver<View> {
        self.view.subscribe()
    }
}
