//! Why a start failed, for a person: the stage, the cause, and the guest's last words where they help. Made by `lifecycle` and `keeper`.

use std::error::Error;
use std::time::Duration;

use super::boot::PrepareError;
use super::console::ConsoleTail;
use super::hello::HelloError;
use super::ping::PingError;
use super::trust::TrustError;
use crate::machine::Cause;
use crate::plain;
use crate::settings::SettingsError;

/// A failed start.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// What is asked for cannot be.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// Before there was a machine.
    #[error(transparent)]
    Prepare(#[from] PrepareError),
    /// A file of the user's certificates.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// The engine could not start it.
    #[error("The machine could not be started")]
    Machine(#[source] Cause),
    /// The wrong agent, or none.
    #[error(transparent)]
    Hello(#[from] HelloError),
    /// It ended by itself on the way up.
    #[error("While booting: {end}; its last lines were\n{console}")]
    Died {
        /// In what way.
        end: String,
        /// Last lines of the console.
        console: String,
    },
    /// A deadline passed.
    #[error("Waited {seconds} s for {stage}{console}")]
    Late {
        /// For what.
        stage: String,
        /// How long.
        seconds: u64,
        /// Last lines of the console, behind words of their own.
        console: String,
    },
    /// The agent gave up.
    #[error("The guest failed at {stage}: {reason}")]
    Guest {
        /// Where.
        stage: String,
        /// Cause and cure.
        reason: String,
    },
    /// The event channel ended.
    #[error("The guest's agent went away after the stage `{last}`")]
    AgentGone {
        /// The last stage that it reported.
        last: String,
    },
    /// dockerd said that it is ready and does not answer.
    #[error("The Docker API does not answer")]
    Ping(#[source] PingError),
    /// A defect of ours.
    #[error("A part of the daemon panicked: {0}")]
    Panicked(tokio::task::JoinError),
}

impl Fault {
    /// A deadline passed.
    pub fn late(stage: impl Into<String>, patience: Duration) -> Fault {
        Fault::Late { stage: stage.into(), seconds: patience.as_secs(), console: String::new() }
    }

    /// The agent gave up; its words are made harmless.
    pub fn guest(stage: &str, reason: &str) -> Fault {
        Fault::Guest { stage: plain::one_line(stage), reason: plain::plain(reason) }
    }

    /// A defect of ours.
    pub fn panicked(error: tokio::task::JoinError) -> Fault {
        Fault::Panicked(error)
    }

    /// With the guest's last words, if the guest was silent.
    pub fn with_console(self, tail: &ConsoleTail) -> Fault {
        match self {
            Fault::Late { stage, seconds, .. } => {
                Fault::Late { stage, seconds, console: format!("; the console's last lines are\n{}", tail.last()) }
            }
            other => other,
        }
    }
}

/// An error and everything that it came from, on one line.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
