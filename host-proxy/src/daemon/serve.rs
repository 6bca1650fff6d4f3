//! Answers `lighter` on the control socket; the protocol is described in `control`. Called by the daemon.

use std::sync::Arc;
use std::time::Duration;

use lighter_protocol::{Reply, ports};

use super::api::{Serving, accept};
use super::board::{Board, View};
use super::door::Door;
use super::fault::chain;
use super::surroundings::Surroundings;
use super::wish::{Caller, How, Stop, Wants};
use crate::control::{Answer, Ask, Phase, Status};
use crate::forward::{self, List, PublishedPort};
use crate::frames::{self, FrameError};
use crate::home::Profile;
use crate::settings::{self, Host, Settings, Wishes};
use crate::sys::endpoint::{Listener, Stream};

/// How long a client may take to ask.
const QUESTION: Duration = Duration::from_secs(5);

/// Serves control clients.
pub fn serve(listener: Listener, desk: Desk) -> Serving {
    let desk = Arc::new(desk);
    accept(listener, move |client| {
        let desk = Arc::clone(&desk);
        async move {
            if let Err(error) = desk.attend(client).await {
                tracing::debug!(error = chain(&error), "A control connection ended early");
            }
        }
    })
}

/// How long the engine may take to say which containers it has.
const NAMES: Duration = Duration::from_secs(5);
/// Most ports that one answer holds; each takes some two hundred bytes.
const MOST_LISTED: usize = 1000;

/// What a control client may ask of, and whom it is passed on to.
pub struct Desk {
    /// Whose daemon.
    pub profile: Profile,
    /// How the machine is.
    pub board: Arc<Board>,
    /// Where API connections get in.
    pub door: Arc<Door>,
    /// What is published.
    pub list: Arc<List>,
    /// Who is told what is wanted.
    pub wants: Wants,
    /// The environment that counts.
    pub surroundings: Arc<Surroundings>,
}

/// A machine that is neither on its way up nor down.
fn settled(view: &View) -> bool {
    !matches!(view.phase, Phase::Starting | Phase::Stopping)
}

impl Desk {
    async fn attend(&self, mut client: Stream) -> Result<(), FrameError> {
        let ask = tokio::time::timeout(QUESTION, frames::read::<Ask>(&mut client)).await;
        let Ok(ask) = ask else { return Err(FrameError::Closed) };
        match ask? {
            Ask::Status => frames::write(&mut client, &Answer::Status(self.status(&self.board.view()))).await,
            Ask::Watch => self.watch(client).await,
            Ask::Start { wishes, environment } => {
                self.surroundings.change(environment);
                self.start(client, wishes).await
            }
            Ask::Restart { grace_seconds, wishes, environment } => {
                self.surroundings.change(environment);
                self.restart(client, grace_seconds, wishes).await
            }
            Ask::Stop { grace_seconds, quit } => self.stop(client, How::Graceful(grace_seconds), quit).await,
            Ask::Kill { quit } => self.stop(client, How::Kill, quit).await,
            Ask::Ports => self.tell_ports(client).await,
            Ask::Guest => self.relay(client).await,
        }
    }

    fn status(&self, view: &View) -> Status {
        // Without a machine, those of the next one.
        let size = view.size.or_else(|| {
            let config = self.profile.config();
            let settings = Settings::new(&settings::load(&config).ok()?, Host::here(), &config).ok()?;
            Some((settings.cpus, settings.memory_bytes))
        });
        // What waits for a disk matters more than what dockerd says, which may be waiting for it.
        let trouble = view.trouble.clone().filter(|_| matches!(view.phase, Phase::Running | Phase::Stopping));
        Status {
            profile: self.profile.name().to_string(),
            state: view.phase,
            reason: trouble.or_else(|| view.reason.clone()),
            engine: view.engine.clone(),
            docker_host: self.profile.docker_host(),
            cpus: size.map(|(cpus, _)| cpus),
            memory_bytes: size.map(|(_, bytes)| bytes),
            proxy: view.proxy.clone(),
            pid: Some(std::process::id()),
            versions: view.versions.clone(),
        }
    }

    async fn watch(&self, mut client: Stream) -> Result<(), FrameError> {
        let view = self.report(&mut client, None, |view| settled(view) || view.over).await?;
        frames::write(&mut client, &Answer::Status(self.status(&view))).await?;
        self.board.told();
        Ok(())
    }

    async fn start(&self, client: Stream, wishes: Wishes) -> Result<(), FrameError> {
        // One that is on its way down has to be off first.
        let off = |view: &View| view.phase != Phase::Stopping || view.over;
        let _ = self.board.watch().wait_for(off).await;
        // A keeper that will not is one that ends, which is on the board.
        let _ = self.wants.start(Caller::Person(wishes)).await;
        self.watch(client).await
    }

    async fn restart(&self, mut client: Stream, grace: Option<u32>, wishes: Wishes) -> Result<(), FrameError> {
        let before = self.board.view();
        let (starts, ends) = (before.starts, before.ends);
        let how = grace.map_or(How::Kill, How::Graceful);
        self.wants.stop(Stop { how, quit: false, then: Some(wishes) }).await;
        // A later stop may have overruled it: then there is an end without a start behind it, when nothing moves any more.
        let view = self.report(&mut client, Some(before), |view| {
            view.over || (settled(view) && (view.starts > starts || (view.ends > ends && view.phase == Phase::Stopped)))
        });
        let view = view.await?;
        frames::write(&mut client, &Answer::Status(self.status(&view))).await
    }

    async fn stop(&self, mut client: Stream, how: How, quit: bool) -> Result<(), FrameError> {
        let before = self.board.view();
        let ends = before.ends;
        self.wants.stop(Stop { how, quit, then: None }).await;
        self.report(&mut client, Some(before), |view| view.over || (!quit && view.ends > ends)).await?;
        frames::write(&mut client, &Answer::Stopped).await
    }

    /// Tells the stages that came after `before`, or all of them, until it is enough; what stood on the board then.
    async fn report(
        &self,
        client: &mut Stream,
        before: Option<View>,
        enough: impl Fn(&View) -> bool,
    ) -> Result<View, FrameError> {
        let mut board = self.board.watch();
        let (mut starts, mut told) = before.map_or((0, 0), |view| (view.starts, view.stages.len()));
        loop {
            let view = board.borrow_and_update().clone();
            if view.starts != starts {
                (starts, told) = (view.starts, 0);
            }
            for stage in view.stages.get(told..).unwrap_or_default() {
                frames::write(client, &Answer::Stage(stage.clone())).await?;
            }
            told = view.stages.len();
            if enough(&view) {
                return Ok(view);
            }
            board.changed().await.map_err(|_| FrameError::Closed)?;
        }
    }

    /// What is published, with names if the engine says them soon.
    async fn ports(&self) -> Vec<PublishedPort> {
        let mut ports = self.list.all();
        if !ports.is_empty() {
            let naming = async {
                let engine = self.door.look(ports::DOCKER).await?;
                forward::name(&mut ports, engine).await
            };
            if !matches!(tokio::time::timeout(NAMES, naming).await, Ok(Ok(()))) {
                tracing::debug!("The engine does not say whose the published ports are");
            }
        }
        ports
    }

    /// In answers that a frame holds.
    async fn tell_ports(&self, mut client: Stream) -> Result<(), FrameError> {
        let mut rest = self.ports().await;
        loop {
            let next = rest.split_off(rest.len().min(MOST_LISTED));
            let more = !next.is_empty();
            frames::write(&mut client, &Answer::Ports { ports: rest, more }).await?;
            if !more {
                return Ok(());
            }
            rest = next;
        }
    }

    /// Makes the connection one to the guest's agent.
    async fn relay(&self, mut client: Stream) -> Result<(), FrameError> {
        match self.door.look(ports::CONTROL).await {
            Ok(mut guest) => {
                tokio::io::copy_bidirectional(&mut client, &mut guest).await?;
                Ok(())
            }
            // In the agent's own words, because the client expects those.
            Err(error) => frames::write(&mut client, &Reply::Error { message: error.to_string() }).await,
        }
    }
}
