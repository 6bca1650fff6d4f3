//! What is wrong with the guest's disks, in words for a person: told by a disk's worker, once per change, to the log and to
//! whoever watches [`Machine::trouble`](crate::Machine::trouble).

use std::io;
use std::path::Path;

use tokio::sync::watch;

/// One for all disks of a machine, of which one at most is written to. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Trouble(watch::Sender<Option<String>>);

impl Default for Trouble {
    fn default() -> Self {
        Self(watch::Sender::new(None))
    }
}

impl Trouble {
    /// Follows what is wrong; `None` is nothing.
    pub fn watch(&self) -> watch::Receiver<Option<String>> {
        self.0.subscribe()
    }

    /// A write waits for room on the host.
    pub(super) fn no_space(&self, disk: &Path) {
        let disk = disk.display();
        let first = self.say(Some(format!(
            "The host has no space left for the guest's disk {disk}: the guest's writes wait until there is some. Free \
             some space there"
        )));
        if first {
            tracing::warn!(%disk, "No space left on the host for the guest's disk: its writes wait until there is some");
        }
    }

    /// A write found room.
    pub(super) fn space(&self, disk: &Path) {
        // Looked at without a lock for writing, because every write comes by here.
        if self.0.borrow().is_some() && self.say(None) {
            tracing::info!(disk = %disk.display(), "The host has space again for the guest's disk");
        }
    }

    /// What was written is lost, nobody knows what of it; and nothing more is taken.
    pub(super) fn flush_failed(&self, disk: &Path, error: &io::Error) {
        let disk = disk.display();
        self.say(Some(format!(
            "Flushing the guest's disk {disk} failed ({error}), so it takes no more writes. Check the host's disk, then \
             run `lighter restart`"
        )));
        tracing::error!(%disk, %error, "Flushing the guest's disk failed: no more writes until it is opened anew");
    }

    /// Whether that is new.
    fn say(&self, what: Option<String>) -> bool {
        self.0.send_if_modified(|said| {
            let new = *said != what;
            *said = what;
            new
        })
    }
}
