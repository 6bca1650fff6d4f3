//! Answers `lighter` on the control socket; the protocol is described in `control`. Called by the daemon.

use std::sync::Arc;
use std::time::Duration;

use lighter_protocol::{Reply, ports};
use tokio::sync::mpsc;

use super::api::{Serving, accept};
use super::board::{Board, View};
use super::door::Door;
use super::fault::chain;
use super::lifecycle::StopWish;
use crate::control::{Answer, Ask, Phase, Status};
use crate::frames::{self, FrameError};
use crate::guest::GuestDialer;
use crate::sys::endpoint::{Listener, Stream};

/// How long a client may take to ask.
const QUESTION: Duration = Duration::from_secs(5);

/// What the daemon knows of itself from the beginning.
#[derive(Debug, Clone)]
pub struct Facts {
    /// Name of the profile.
    pub profile: String,
    /// The API endpoint.
    pub docker_host: String,
    /// Virtual CPUs.
    pub cpus: u8,
    /// Guest RAM in bytes.
    pub memory_bytes: u64,
}

impl Facts {
    fn status(&self, view: &View) -> Status {
        Status {
            profile: self.profile.clone(),
            state: view.phase,
            reason: view.reason.clone(),
            engine: view.engine.clone(),
            docker_host: self.docker_host.clone(),
            cpus: Some(self.cpus),
            memory_bytes: Some(self.memory_bytes),
            pid: Some(std::process::id()),
            versions: view.versions.clone(),
        }
    }
}

/// Serves control clients.
pub fn serve(
    listener: Listener,
    facts: Facts,
    board: Arc<Board>,
    door: Arc<Door>,
    wish: mpsc::Sender<StopWish>,
) -> Serving {
    let desk = Arc::new(Desk { facts, board, door, wish });
    accept(listener, move |client| {
        let desk = Arc::clone(&desk);
        async move {
            if let Err(error) = desk.attend(client).await {
                tracing::debug!(error = chain(&error), "A control connection ended early");
            }
        }
    })
}

struct Desk {
    facts: Facts,
    board: Arc<Board>,
    door: Arc<Door>,
    wish: mpsc::Sender<StopWish>,
}

impl Desk {
    async fn attend(&self, mut client: Stream) -> Result<(), FrameError> {
        let ask = tokio::time::timeout(QUESTION, frames::read::<Ask>(&mut client)).await;
        let Ok(ask) = ask else { return Err(FrameError::Closed) };
        match ask? {
            Ask::Status => {
                let status = self.facts.status(&self.board.view());
                frames::write(&mut client, &Answer::Status(status)).await
            }
            Ask::Watch => {
                let settled = |view: &View| !matches!(view.phase, Phase::Starting | Phase::Stopping);
                let view = self.report(&mut client, 0, settled).await?;
                frames::write(&mut client, &Answer::Status(self.facts.status(&view))).await?;
                self.board.told();
                Ok(())
            }
            Ask::Stop { grace_seconds } => self.stop(client, StopWish::Graceful(grace_seconds)).await,
            Ask::Kill => self.stop(client, StopWish::Kill).await,
            Ask::Guest => self.relay(client).await,
        }
    }

    async fn stop(&self, mut client: Stream, wish: StopWish) -> Result<(), FrameError> {
        let told = self.board.view().stages.len();
        // Full or closed means that enough have wished before us.
        let _ = self.wish.try_send(wish);
        self.report(&mut client, told, |view| view.over).await?;
        frames::write(&mut client, &Answer::Stopped).await
    }

    /// Tells stages, the first `told` ones excepted, until it is enough; what stood on the board then.
    async fn report(
        &self,
        client: &mut Stream,
        mut told: usize,
        enough: impl Fn(&View) -> bool,
    ) -> Result<View, FrameError> {
        let mut board = self.board.watch();
        loop {
            let view = board.borrow_and_update().clone();
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

    /// Makes the connection one to the guest's agent.
    async fn relay(&self, mut client: Stream) -> Result<(), FrameError> {
        match self.door.dial(ports::CONTROL).await {
            Ok(mut guest) => {
                tokio::io::copy_bidirectional(&mut client, &mut guest).await?;
                Ok(())
            }
            // In the agent's own words, because the client expects those.
            Err(error) => frames::write(&mut client, &Reply::Error { message: error.to_string() }).await,
        }
    }
}
