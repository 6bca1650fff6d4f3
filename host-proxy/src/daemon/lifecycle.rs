//! The life of one machine, and the only writer of the board. Called by the daemon, which ends when this does.
//!
//! ```text
//!   Starting ──ready and pinged──► Running ──wish to stop, guest shuts down──► Stopping ──► Stopped
//!      │  └──────wish to stop──────────────────────────────────────────────────►  ▲
//!      │                              └──guest resets or crashes──► Broken ──wish──┘
//!      └──any failure──► Broken, told to everybody who waits; the daemon ends
//! ```
//! A failed start leaves nothing behind, not even a daemon. After a crash the daemon stays, so that somebody can say why.

use std::sync::Arc;
use std::time::Duration;

use lighter_protocol::Event;
use tokio::sync::mpsc;

use super::ascent::{ascend, stage_text};
use super::board::Board;
use super::boot::{self, Prepared};
use super::door::Door;
use super::fault::{Fault, chain};
use super::hello::{Events, Welcome};
use super::{console::ConsoleTail, patience::Patience, shutdown, timeline};
use crate::control::Phase;
use crate::home::Profile;
use crate::machine::{End, Machine, Platform};
use crate::plain;
use crate::settings::Settings;

/// How long what was said before a machine's end may take to arrive after it.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Somebody wants the machine to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopWish {
    /// Ask the guest, and give its containers so many seconds.
    Graceful(u32),
    /// Do not ask.
    Kill,
}

/// Everything that a life needs.
pub struct Lifecycle {
    /// Whose machine.
    pub profile: Profile,
    /// What it is to be.
    pub settings: Settings,
    /// What it is made with.
    pub platform: Arc<dyn Platform>,
    /// Where it is written down.
    pub board: Arc<Board>,
    /// Where API connections get in.
    pub door: Arc<Door>,
    /// Wishes to stop, from signals and from the control socket.
    pub wishes: mpsc::Receiver<StopWish>,
}

/// A machine whose agent said hello.
struct Running {
    machine: Arc<dyn Machine>,
    events: Events,
    patience: Patience,
}

impl Lifecycle {
    /// From start to end. An error means that the start failed; it is on the board already.
    pub async fn live(mut self) -> Result<(), Fault> {
        let result = match self.start().await {
            Ok(Some(running)) => {
                self.board.enter(Phase::Running, None);
                let machine = Arc::clone(&running.machine);
                timeline::write(&self.board.view().stages, machine.exits());
                self.run(running).await;
                timeline::write(&self.board.view().stages, machine.exits());
                Ok(())
            }
            Ok(None) => Ok(()),
            Err(fault) => Err(fault),
        };
        match &result {
            Ok(()) => self.board.end(Phase::Stopped, None),
            Err(fault) => self.board.end(Phase::Broken, Some(chain(fault))),
        }
        self.door.close();
        result
    }

    /// `None` if somebody wanted it to stop on the way.
    async fn start(&mut self) -> Result<Option<Running>, Fault> {
        let prepared = self.prepare().await?;
        if self.wishes.try_recv().is_ok() {
            return Ok(None);
        }
        let Prepared { config, secret, data_disk_blank } = prepared;
        let patience = Patience::of(config.engine);
        let console = ConsoleTail::from_here(&config.console.path);
        let welcome = Welcome { secret, hostname: self.profile.name().hostname(), data_disk_blank };
        self.board.stage("machine", "starting the machine");
        let platform = Arc::clone(&self.platform);
        let machine = tokio::task::spawn_blocking(move || platform.start(config)).await;
        let machine = machine.map_err(Fault::panicked)?.map_err(Fault::Machine)?;
        let mut events = None;
        let ready = tokio::select! {
            biased;
            end = machine.wait() => Err(Fault::Died { end: end_text(&end), console: console.last() }),
            wish = self.wishes.recv() => Ok(Some(wish.unwrap_or(StopWish::Kill))),
            ready = ascend(&self.board, &machine, &welcome, patience, &mut events) => ready.map(|()| None),
        };
        let ready = match ready {
            Err(fault) => Err(explain(fault, &machine, events.as_mut(), &console).await),
            ready => ready,
        };
        match (ready, events) {
            (Ok(None), Some(events)) => {
                self.door.open(Arc::clone(&machine));
                Ok(Some(Running { machine, events, patience }))
            }
            (Ok(Some(wish)), Some(events)) => {
                self.stop(Running { machine, events, patience }, wish).await;
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

    async fn prepare(&self) -> Result<Prepared, Fault> {
        let (platform, board) = (Arc::clone(&self.platform), Arc::clone(&self.board));
        let (profile, settings) = (self.profile.clone(), self.settings.clone());
        let work = move || boot::prepare(&*platform, &profile, &settings, &board);
        Ok(tokio::task::spawn_blocking(work).await.map_err(Fault::panicked)??)
    }

    /// A machine in service, until it ends or is to end.
    async fn run(&mut self, mut running: Running) {
        let mut goodbye = false;
        let mut listening = true;
        loop {
            tokio::select! {
                wish = self.wishes.recv() => return self.stop(running, wish.unwrap_or(StopWish::Kill)).await,
                end = running.machine.wait() => {
                    // The goodbye may still be on its way to us.
                    while let Ok(Some(event)) = tokio::time::timeout(LAST_WORDS, running.events.next()).await {
                        goodbye |= event == Event::Stopped;
                    }
                    if goodbye && matches!(end, End::Reset | End::PoweredOff) {
                        tracing::info!("The guest shut itself down");
                        return;
                    }
                    return self.mourn(&end).await;
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
            Event::Stopped => (),
        }
    }

    /// The machine died. Stays to tell why until somebody wants to stop or start.
    async fn mourn(&mut self, end: &End) {
        let lines = ConsoleTail::whole(&self.profile.console_log()).last();
        let advice = "run `lighter restart`";
        let reason = format!("{}: {advice}; the console's last lines are\n{lines}", end_text(end));
        self.board.enter(Phase::Broken, Some(reason));
        self.door.close();
        self.wishes.recv().await;
    }

    /// Shuts the guest down, or kills it.
    async fn stop(&mut self, running: Running, wish: StopWish) {
        self.board.enter(Phase::Stopping, None);
        self.door.close();
        if let StopWish::Graceful(grace) = wish {
            self.board.stage("shutdown", "stopping containers");
            let ended = tokio::select! {
                ended = shutdown::ask(&running.machine, grace, running.patience) => ended,
                _ = self.wishes.recv() => Err("somebody insisted".to_owned()),
            };
            match ended {
                Ok(()) => return self.board.stage("stopped", "the machine is off"),
                Err(why) => tracing::warn!(why, "The guest did not shut down by itself"),
            }
        }
        self.board.stage("kill", "switching the machine off");
        running.machine.kill().await;
        drop(running.events);
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
