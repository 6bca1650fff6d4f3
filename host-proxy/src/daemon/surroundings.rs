//! The environment that a machine is started in, as far as proxies go. A daemon outlives the shell that started it, and a
//! docker command that wakes a machine has no say in it, so one environment has to count: that of the last `lighter start`
//! or `lighter restart`. It comes with the daemon's own environment when that command made the daemon, and over the
//! control socket otherwise; a daemon that a service manager made has what that gave it until somebody says `lighter start`.
//! It is kept in memory only, because it may hold a password. Written by `serve`, read by `keeper`.

use std::sync::{Mutex, PoisonError};

use crate::settings::proxy::ProxyWords;

/// See the head of this file.
#[derive(Debug)]
pub struct Surroundings(Mutex<ProxyWords>);

impl Surroundings {
    /// Those of this process.
    pub fn of_this_process() -> Surroundings {
        Surroundings(Mutex::new(ProxyWords::from_env()))
    }

    /// Those of a command that was given since; none was told by a `lighter` of another version.
    pub fn change(&self, words: Option<ProxyWords>) {
        if let Some(words) = words {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = words;
        }
    }

    /// As they are now.
    pub fn words(&self) -> ProxyWords {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
