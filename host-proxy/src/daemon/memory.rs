//! What dockerd said of itself when it last ran, kept with the profile so that also the next daemon knows it. `lifecycle`
//! lets it learn from a running machine; `door` recalls it for the API while there is none.

use std::io::Read;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use lighter_protocol::ports;

use super::fault::chain;
use crate::docker::known::{self, Known};
use crate::home::Profile;
use crate::machine::Machine;
use crate::replace::replace;
use crate::settings;

/// Longest file that is read, in bytes; three answers have a few thousand.
const LONGEST: u64 = 512 * 1024;

/// See the head of this file.
pub struct Memory {
    file: PathBuf,
    config: PathBuf,
    known: RwLock<Option<Arc<Known>>>,
}

impl Memory {
    /// With what an earlier daemon of the profile has kept, if that is of any use.
    pub fn of(profile: &Profile) -> Memory {
        let file = profile.known_answers();
        let mut text = String::new();
        let read = std::fs::File::open(&file).and_then(|file| file.take(LONGEST).read_to_string(&mut text));
        let known = read.ok().and_then(|_| serde_json::from_str(&text).ok()).filter(Known::is_proper).map(Arc::new);
        Memory { file, config: profile.config(), known: RwLock::new(known) }
    }

    /// What may be answered without a machine: nothing if the user does not want that, which the settings say at any time.
    pub fn recall(&self) -> Option<Arc<Known>> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner).clone()?;
        // Settings that cannot be read stop the next start, and say so there.
        let wishes = settings::load(&self.config).unwrap_or_default();
        wishes.answer_while_stopped.unwrap_or(true).then_some(known)
    }

    /// Asks the dockerd of a running machine. That it does not answer is no reason to do anything.
    pub async fn learn(&self, machine: &Arc<dyn Machine>, patience: Duration) {
        let asked = async { known::learn(machine.dial(ports::DOCKER).await?).await };
        let fresh = match tokio::time::timeout(patience, asked).await {
            Ok(Ok(known)) => Arc::new(known),
            Ok(Err(error)) => return tracing::info!(error = chain(&error), "Learnt nothing to answer while stopped"),
            Err(_) => return tracing::info!("Learnt nothing to answer while stopped: no answer in time"),
        };
        let before = self.known.write().unwrap_or_else(PoisonError::into_inner).replace(Arc::clone(&fresh));
        if before.is_some_and(|before| before.says_the_same(&fresh)) {
            return;
        }
        let file = self.file.clone();
        let kept = tokio::task::spawn_blocking(move || {
            let json = serde_json::to_vec_pretty(&*fresh).map_err(std::io::Error::from)?;
            replace(&file, &json)
        });
        if let Ok(Err(error)) = kept.await {
            tracing::warn!(%error, "Cannot keep what is to be answered while stopped");
        }
    }
}
