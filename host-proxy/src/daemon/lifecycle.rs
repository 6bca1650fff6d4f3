//! The life of one machine. Called by `keeper`, which decides when there is one.
//!
//! ```text
//!   Starting ──ready and pinged──► Running ──wish to stop, guest shuts down──► Stopping ──► ended
//!      │  └──────wish to stop──────────────────────────────────────────────────►  │          ▲
//!      │                           │  └──guest switches itself off in order──────────────────┘
//!      └──any failure──► failed    └──guest resets or crashes──► died
//! ```
//! Whatever the way, when [`Lifecycle::live`] returns the machine is off, and nothing holds its memory or its disk.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lighter_protocol::engine::{Certificates, frames_of};
use lighter_protocol::{EngineSettings, Event, ports};
use lighter_vmm::virtio::fs::{NativeFs, Server};
use tokio::sync::watch;

use super::ascent::{ascend, stage_text};
use super::board::Board;
use super::boot::{self, Prepared};
use super::door::Door;
use super::fault::Fault;
use super::hello::{Events, Welcome};
use super::memory::Memory;
use super::wish::{How, Inbox};
use super::{clock, console::ConsoleTail, folders, herald, patience::Patience, shutdown, timeline, trust};
use crate::control::Phase;
use crate::forward::{Forwarding, List, Rules};
use crate::home::Profile;
use crate::machine::{End, Machine, Platform};
use crate::net::{Network, Policy};
use crate::plain;
use crate::settings::Settings;
use crate::settings::proxy::ProxyWords;
use crate::sys::names;

/// How long what was said before a machine's end may take to arrive after it.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// How long dockerd may take to say who it is, when a machine begins to serve.
const LEARN: Duration = Duration::from_secs(20);
/// The same when the machine is to stop.
const LEARN_AT_STOP: Duration = Duration::from_secs(1);

/// How long this computer's files of certificates may take to be read.
const TRUST: Duration = Duration::from_secs(30);

/// How a life ended.
#[derive(Debug)]
pub enum Outcome {
    /// As it should.
    Ended,
    /// It never served.
    Failed(Fault),
    /// It served and died.
    Died {
        /// How, for a person.
        reason: String,
        /// How long it had served.
        lived: Duration,
    },
}

/// Everything that a life needs.
pub struct Lifecycle<'a> {
    /// Whose machine.
    pub profile: &'a Profile,
    /// What it is to be.
    pub settings: Settings,
    /// What it is made with.
    pub platform: Arc<dyn Platform>,
    /// Where it is written down.
    pub board: Arc<Board>,
    /// Where API connections get in.
    pub door: Arc<Door>,
    /// What dockerd says of itself.
    pub memory: Arc<Memory>,
    /// What is published.
    pub list: Arc<List>,
    /// The environment that it is started in.
    pub environment: ProxyWords,
    /// Where wishes to stop arrive.
    pub inbox: &'a mut Inbox,
}

/// A machine whose agent said hello.
struct Running {
    machine: Arc<dyn Machine>,
    events: Events,
    patience: Patience,
    /// Carries the guest's traffic for as long as this lives.
    network: Option<Network>,
    /// Publishes its ports for as long as this lives.
    forwarding: Forwarding,
    /// Serves its folders.
    folders: Option<Arc<Server<NativeFs>>>,
}

impl Lifecycle<'_> {
    /// From start to end.
    pub async fn live(mut self) -> Outcome {
        match self.start().await {
            Ok(Some(running)) => {
                self.board.enter(Phase::Running, None);
                let machine = Arc::clone(&running.machine);
                timeline::write(&self.board.view().stages, machine.exits());
                let learning = tokio::spawn({
                    let (machine, memory) = (Arc::clone(&machine), Arc::clone(&self.memory));
                    async move { memory.learn(&machine, LEARN).await }
                });
                let outcome = self.run(running).await;
                // What it asks a machine that is off fails at once; what it writes is to be written before we go.
                let _ = learning.await;
                self.door.close();
                timeline::write(&self.board.view().stages, machine.exits());
                outcome
            }
            Ok(None) => Outcome::Ended,
            Err(fault) => Outcome::Failed(fault),
        }
    }

    /// `None` if somebody wanted it to stop on the way.
    async fn start(&mut self) -> Result<Option<Running>, Fault> {
        let prepared = self.prepare().await?;
        let (engine, certificates) = self.world().await?;
        if self.inbox.stop_now().is_some() {
            return Ok(None);
        }
        let Prepared { mut config, secret, data_disk_blank, shares } = prepared;
        let patience = Patience::of(config.engine);
        let console = ConsoleTail::from_here(&config.console.path);
        let network = self.settings.network.then(|| {
            let policy = Policy { host_access: self.settings.host_access };
            let (device, network) = Network::start(policy, names::files());
            config.network = Some(device);
            network
        });
        let welcome = Welcome {
            secret,
            hostname: self.profile.name().hostname(),
            data_disk_blank,
            network: network.as_ref().map(Network::welcome),
            engine,
            folders: folders::welcome(&shares),
            certificates,
        };
        let folders = config.folders.as_ref().map(|device| Arc::clone(device.server()));
        self.board.stage("machine", "starting the machine");
        let platform = Arc::clone(&self.platform);
        let machine = tokio::task::spawn_blocking(move || platform.start(config)).await;
        let machine = machine.map_err(Fault::panicked)?.map_err(Fault::Machine)?;
        // Before the agent is there: dockerd publishes ports of containers that it restarts before it is ready.
        let forwarding = self.publish(&machine, &welcome.secret, network.as_ref());
        let mut events = None;
        let ready = tokio::select! {
            biased;
            end = machine.wait() => Err(Fault::Died { end: end_text(&end), console: console.last() }),
            how = self.inbox.stop() => Ok(Some(how)),
            ready = ascend(&self.board, &machine, &welcome, patience, &mut events) => ready.map(|()| None),
        };
        let ready = match ready {
            Err(fault) => Err(explain(fault, &machine, events.as_mut(), &console).await),
            ready => ready,
        };
        match (ready, events) {
            (Ok(None), Some(events)) => {
                self.door.open(Arc::clone(&machine), Arc::new(shares));
                Ok(Some(Running { machine, events, patience, network, forwarding, folders }))
            }
            (Ok(Some(how)), Some(events)) => {
                self.stop(Running { machine, events, patience, network, forwarding, folders }, how).await;
                Ok(None)
            }
            (Ok(_), None) => {
                // No agent yet, so nothing is mounted that could be unmounted.
                machine.kill().await;
                Ok(None)
            }
            (Err(fault), _) => {
                machine.kill().await;
                Err(fault)
            }
        }
    }

    fn publish(&self, machine: &Arc<dyn Machine>, secret: &str, network: Option<&Network>) -> Forwarding {
        let rules = Rules {
            secret: secret.to_owned(),
            publish: self.settings.publish,
            inward: network.map(Network::inward),
            list: Arc::clone(&self.list),
        };
        Forwarding::start(machine.listen(ports::PUBLISH), rules)
    }

    async fn prepare(&self) -> Result<Prepared, Fault> {
        let (platform, board) = (Arc::clone(&self.platform), Arc::clone(&self.board));
        let (profile, settings) = (self.profile.clone(), self.settings.clone());
        let work = move || boot::prepare(&*platform, &profile, &settings, &board);
        Ok(tokio::task::spawn_blocking(work).await.map_err(Fault::panicked)??)
    }

    /// What dockerd is told of the user's network, and the certificates that it is to trust.
    async fn world(&self) -> Result<(EngineSettings, Vec<Certificates>), Fault> {
        let Settings { world, network, host_access, .. } = &self.settings;
        if !network {
            // It reaches nobody, so it needs to trust nobody.
            return Ok(Default::default());
        }
        let mut orders = world.orders(&self.environment, *host_access);
        if let Some(proxies) = world.proxies(&self.environment).0.shown() {
            self.board.proxy(&proxies);
        }
        for warning in world.warnings(&self.environment, *host_access) {
            tracing::warn!("{warning}");
        }
        let files = world.ca_certificates.clone();
        let gathering = tokio::task::spawn_blocking(move || trust::gather(&files));
        let late =
            |_| Fault::late("the root certificates of this computer (is a file on a dead network drive?)", TRUST);
        let trust = tokio::time::timeout(TRUST, gathering).await.map_err(late)?.map_err(Fault::panicked)??;
        for warning in &trust.warnings {
            tracing::warn!("{warning}");
        }
        let certificates = frames_of(&trust.pem);
        orders.certificate_frames = certificates.len() as u32;
        Ok((orders, certificates))
    }

    /// A machine in service, until it ends or is to end.
    async fn run(&mut self, mut running: Running) -> Outcome {
        let since = Instant::now();
        let mut goodbye = false;
        let mut listening = true;
        let (machine, board) = (Arc::clone(&running.machine), Arc::clone(&self.board));
        let folders = running.folders.take();
        let mut care = pin!(async move {
            tokio::join!(tell(&board, machine.trouble()), clock::keep(&*machine), herald::keep(&*machine, folders))
        });
        loop {
            tokio::select! {
                _ = &mut care => {}
                how = self.inbox.stop() => {
                    self.stop(running, how).await;
                    return Outcome::Ended;
                }
                end = running.machine.wait() => {
                    let lived = since.elapsed();
                    self.door.close();
                    // The goodbye may still be on its way to us.
                    while let Ok(Some(event)) = tokio::time::timeout(LAST_WORDS, running.events.next()).await {
                        goodbye |= event == Event::Stopped;
                    }
                    if goodbye && matches!(end, End::Reset | End::PoweredOff) {
                        tracing::info!("The guest shut itself down");
                        return Outcome::Ended;
                    }
                    return Outcome::Died { reason: self.obituary(&end), lived };
                }
                event = running.events.next(), if listening => match event {
                    Some(Event::Stopped) => goodbye = true,
                    Some(event) => self.note(event),
                    None => listening = false,
                },
            }
        }
    }

    /// What an agent reports while the machine is in service.
    fn note(&self, event: Event) {
        match event {
            Event::Ready { engine_version, .. } => {
                let version: String = plain::one_line(&engine_version).chars().take(80).collect();
                self.board.learn(None, [("engine".to_owned(), version)]);
                self.board.complain(None);
            }
            Event::EngineDown { reason } => {
                let reason = plain::plain(&reason);
                tracing::warn!(reason, "The engine went down and is being restarted");
                self.board.complain(Some(format!("dockerd is being restarted: {reason}")));
            }
            Event::Failed { stage, reason } => {
                let (stage, reason) = (plain::one_line(&stage), plain::plain(&reason));
                tracing::error!(stage, reason, "The guest reports a failure");
                self.board.complain(Some(format!("{stage}: {reason}")));
            }
            Event::Stage { name, uptime_ms } => self.board.guest_stage(&name, stage_text(&name), uptime_ms),
            // Of a boot only.
            Event::Busy { .. } | Event::Stopped => (),
        }
    }

    /// Why there is no machine any more.
    fn obituary(&self, end: &End) -> String {
        let lines = ConsoleTail::whole(&self.profile.console_log()).last();
        let advice = "the next docker command or `lighter start` starts it again";
        format!("{}: {advice}; the console's last lines are\n{lines}", end_text(end))
    }

    /// Shuts the guest down, or kills it.
    async fn stop(&mut self, running: Running, how: How) {
        self.board.enter(Phase::Stopping, None);
        self.door.close();
        if let How::Graceful(grace) = how {
            // A node that joined a swarm, for one, answers otherwise than when it started.
            self.memory.learn(&running.machine, LEARN_AT_STOP).await;
            self.board.stage("shutdown", "stopping containers");
            let ended = tokio::select! {
                ended = shutdown::ask(&running.machine, grace, running.patience) => ended,
                () = self.inbox.insist() => Err("somebody insisted".to_owned()),
                // A guest that waits for room on the host's disk does not end, and somebody could make room.
                never = tell(&self.board, running.machine.trouble()) => match never {},
            };
            match ended {
                Ok(()) => return self.board.stage("stopped", "the machine is off"),
                Err(why) => tracing::warn!(why, "The guest did not shut down by itself"),
            }
        }
        let text = "switching the machine off";
        match running.machine.trouble().borrow().as_deref() {
            Some(trouble) => self.board.stage("kill", &format!("{text}; what it could not write is lost: {trouble}")),
            None => self.board.stage("kill", text),
        }
        running.machine.kill().await;
        drop((running.events, running.forwarding, running.network));
    }
}

/// Writes on the board what is wrong with the machine's disks, as long as it is polled.
async fn tell(board: &Board, mut trouble: watch::Receiver<Option<String>>) -> Infallible {
    loop {
        let now = trouble.borrow_and_update().clone();
        board.trouble(now);
        if trouble.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// The better one of two reasons that come at the same time: what the agent said before the machine ended, and that the
/// machine ended when the agent fell silent.
async fn explain(
    fault: Fault,
    machine: &Arc<dyn Machine>,
    events: Option<&mut Events>,
    console: &ConsoleTail,
) -> Fault {
    match (&fault, events) {
        (Fault::Died { .. }, Some(events)) => {
            while let Ok(Some(event)) = tokio::time::timeout(LAST_WORDS, events.next()).await {
                if let Event::Failed { stage, reason } = event {
                    return Fault::guest(&stage, &reason);
                }
            }
        }
        (Fault::AgentGone { .. }, _) => {
            if let Ok(end) = tokio::time::timeout(LAST_WORDS, machine.wait()).await {
                return Fault::Died { end: end_text(&end), console: console.last() };
            }
        }
        _ => (),
    }
    fault.with_console(console)
}

fn end_text(end: &End) -> String {
    match end {
        End::Reset => "The guest's kernel crashed or reset the machine".to_owned(),
        End::PoweredOff => "The guest switched the machine off".to_owned(),
        End::Killed => "The machine was switched off".to_owned(),
        End::Crashed(reason) => format!("The engine failed: {}", plain::plain(reason)),
    }
}
