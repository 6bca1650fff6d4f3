//! What the daemon needs of the world below it: a guest image, an engine and a running machine, as traits so that tests put
//! a scripted guest in their place. `platform` implements them with the real thing.

use std::collections::BTreeMap;
use std::error::Error;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use lighter_vmm::{EngineKind, MachineConfig};
use tokio::sync::watch;

use crate::guest::{BoxFuture, BoxedStream};

/// Any error of the layer below, with its sources.
pub type Cause = Box<dyn Error + Send + Sync>;

/// A guest image that was checked by hash just now.
#[derive(Debug, Clone, Default)]
pub struct GuestImage {
    /// The uncompressed kernel.
    pub kernel: PathBuf,
    /// The read-only root.
    pub root: PathBuf,
    /// The agent, a static executable.
    pub agent: PathBuf,
    /// Versions of what is inside, by name.
    pub versions: BTreeMap<String, String>,
}

/// The engine that will run the machine.
#[derive(Debug, Clone)]
pub struct Chosen {
    /// Which one.
    pub engine: EngineKind,
    /// One line for the user if it is not the one that comes first.
    pub why: Option<String>,
}

/// How a machine ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// The guest reset itself, which is also how a clean shutdown ends.
    Reset,
    /// The guest switched itself off.
    PoweredOff,
    /// By [`Machine::kill`].
    Killed,
    /// The engine gave up.
    Crashed(String),
}

/// Image, engines and machines of this host.
pub trait Platform: Send + Sync + 'static {
    /// Finds the guest image and checks it by hash. Blocks.
    fn image(&self) -> Result<GuestImage, Cause>;
    /// Finds an engine that works here; `None` is `auto`. Blocks.
    fn choose(&self, wish: Option<EngineKind>) -> Result<Chosen, Cause>;
    /// Starts a machine. Blocks; called within a tokio runtime.
    fn start(&self, config: MachineConfig) -> Result<Arc<dyn Machine>, Cause>;
}

/// A machine that was started.
pub trait Machine: Send + Sync + 'static {
    /// Connects to a vsock port of the guest, without waiting for it to become ready.
    fn dial(&self, port: u32) -> BoxFuture<'_, io::Result<BoxedStream>>;
    /// Accepts what the guest opens to a vsock port of the host.
    fn listen(&self, port: u32) -> Box<dyn Incoming>;
    /// Waits for the end; may be asked again and by many.
    fn wait(&self) -> BoxFuture<'_, End>;
    /// Ends it without asking the guest; returns when its threads and children are gone.
    fn kill(&self) -> BoxFuture<'_, ()>;
    /// What is wrong with its disks, for a person; `None` is nothing.
    fn trouble(&self) -> watch::Receiver<Option<String>>;
    /// VM exits by reason so far, where the engine counts them.
    fn exits(&self) -> BTreeMap<String, u64>;
}

/// Connections that the guest opens.
pub trait Incoming: Send {
    /// The next one; `None` when the machine is gone.
    fn accept(&mut self) -> BoxFuture<'_, Option<BoxedStream>>;
}
