//! The board on which the daemon writes how its machine is, for everybody who wants to read or wait: API clients that wait
//! for the guest, watchers of a start, `status`. Only `keeper` and `lifecycle` write.

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
    /// What is wrong with the machine's disks while it runs.
    pub trouble: Option<String>,
    /// Stages of the last start, and of the stop behind it.
    pub stages: Vec<Stage>,
    /// When that start began.
    since: Instant,
    /// Starts so far.
    pub starts: u64,
    /// How many times there was no machine any more, or still none although somebody had wanted an end.
    pub ends: u64,
    /// CPUs and bytes of RAM of the machine that lives.
    pub size: Option<(u8, u64)>,
    /// The engine's name once it is chosen.
    pub engine: Option<String>,
    /// The proxies of the machine that lives, without their passwords.
    pub proxy: Option<String>,
    /// Versions by name.
    pub versions: BTreeMap<String, String>,
    /// Nothing more will be written: the daemon ends.
    pub over: bool,
}

/// The board.
#[derive(Debug)]
pub struct Board {
    view: watch::Sender<View>,
    heard: Notify,
}

impl Board {
    /// A daemon without a machine, `phase` being what it is about to do; `since` is when its process began.
    pub fn new(phase: Phase, since: Instant) -> Board {
        let view = View {
            phase,
            reason: None,
            trouble: None,
            stages: Vec::new(),
            since,
            starts: 0,
            ends: 0,
            size: None,
            engine: None,
            proxy: None,
            versions: own_version(),
            over: false,
        };
        Board { view: watch::Sender::new(view), heard: Notify::new() }
    }

    /// Writes that a machine is being started; the first start of a daemon that was made for it began with its process.
    pub fn begin(&self) {
        self.start(false);
    }

    /// Writes that there was no machine any more, and that one is being started.
    pub fn begin_again(&self) {
        self.start(true);
    }

    fn start(&self, ended: bool) {
        tracing::info!(phase = Phase::Starting.name(), "State");
        self.view.send_modify(|view| {
            if view.phase != Phase::Starting || view.starts > 0 {
                view.since = Instant::now();
            }
            view.phase = Phase::Starting;
            view.reason = None;
            view.stages.clear();
            view.starts += 1;
            view.ends += u64::from(ended);
            view.engine = None;
            view.proxy = None;
            view.versions = own_version();
        });
    }

    /// Writes how large the machine is.
    pub fn size(&self, cpus: u8, memory_bytes: u64) {
        self.view.send_modify(|view| view.size = Some((cpus, memory_bytes)));
    }

    /// Writes by which proxies the machine reaches the world, as they may be shown.
    pub fn proxy(&self, shown: &str) {
        self.view.send_modify(|view| view.proxy = Some(shown.to_owned()));
        self.stage("proxies", &format!("pulls and builds go through {shown}"));
    }

    /// Writes that there is no machine: `Stopped`, or `Broken` with the reason.
    pub fn rest(&self, phase: Phase, reason: Option<String>) {
        tracing::info!(phase = phase.name(), reason, "State");
        self.view.send_modify(|view| {
            view.phase = phase;
            view.reason = reason;
            view.ends += 1;
            view.size = None;
            view.engine = None;
            view.proxy = None;
        });
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
        self.view.send_if_modified(|view| {
            let host_ms = u64::try_from(view.since.elapsed().as_millis()).unwrap_or(u64::MAX);
            let stage = Stage { name: name.to_owned(), text: text.to_owned(), host_ms, guest_ms };
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

    /// Writes that the daemon ends.
    pub fn end(&self) {
        self.view.send_modify(|view| view.over = true);
    }

    /// Writes what is wrong with a machine that goes on running, or that nothing is any more.
    pub fn complain(&self, reason: Option<String>) {
        self.view.send_modify(|view| view.reason = reason);
    }

    /// Writes what is wrong with the machine's disks, or that nothing is.
    pub fn trouble(&self, trouble: Option<String>) {
        self.view.send_modify(|view| view.trouble = trouble);
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

    /// Where the machine is in its life.
    pub fn phase(&self) -> Phase {
        self.view.borrow().phase
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

fn own_version() -> BTreeMap<String, String> {
    BTreeMap::from([("lighter".to_owned(), env!("CARGO_PKG_VERSION").to_owned())])
}
