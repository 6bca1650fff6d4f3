//! A machine without a guest: the agent's hello is scripted, and dockerd's vsock port is a socket of this host. So the
//! daemon around it is the product's own from its listener to `Machine::dial`; what is left out is the vsock device, its
//! rings and the guest. Called by `main`.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use lighter::frames;
use lighter::guest::{BoxFuture, BoxedStream};
use lighter::machine::{Cause, Chosen, End, GuestImage, Incoming, Machine, Platform};
use lighter::sys::endpoint;
use lighter_protocol::engine::Certificates;
use lighter_protocol::{Boot, Event, Hello, VERSION, ports};
use lighter_vmm::{EngineKind, MachineConfig};
use tokio::io::{DuplexStream, duplex};
use tokio::sync::watch;

/// A platform whose machines serve Docker connections from the socket `engine`.
pub struct Rig {
    engine: PathBuf,
    /// Stands for kernel, root and agent alike.
    part: tempfile::NamedTempFile,
}

impl Rig {
    pub fn new(engine: PathBuf) -> io::Result<Rig> {
        Ok(Rig { engine, part: tempfile::NamedTempFile::new()? })
    }
}

impl Platform for Rig {
    fn image(&self) -> Result<GuestImage, Cause> {
        let part = || self.part.path().to_owned();
        Ok(GuestImage { kernel: part(), root: part(), agent: part(), versions: BTreeMap::new() })
    }

    fn choose(&self, _wish: Option<EngineKind>) -> Result<Chosen, Cause> {
        Ok(Chosen { engine: EngineKind::Kvm, why: Some("there is no guest in this rig".to_owned()) })
    }

    fn start(&self, config: MachineConfig) -> Result<Arc<dyn Machine>, Cause> {
        let (ours, theirs) = duplex(64 << 10);
        tokio::spawn(agent(theirs, secret(&config.initramfs).ok_or("the initramfs holds no secret")?));
        let calls = Mutex::new(Some(ours));
        Ok(Arc::new(NoGuest { engine: self.engine.clone(), calls, end: watch::Sender::new(None), _config: config }))
    }
}

/// The file `/secret` of a newc archive.
fn secret(initramfs: &[u8]) -> Option<String> {
    let name = b"secret\0";
    let at = initramfs.windows(name.len()).position(|window| window == name)?;
    let data = (at + name.len()).next_multiple_of(4);
    String::from_utf8(initramfs.get(data..data + 64)?.to_vec()).ok()
}

/// Says what an agent says, then stays until the machine is dropped.
async fn agent(mut channel: DuplexStream, secret: String) {
    let script = async {
        frames::write(&mut channel, &Hello { version: VERSION, secret }).await?;
        let boot: Boot = frames::read(&mut channel).await?;
        for _ in 0..boot.engine.certificate_frames {
            frames::read::<Certificates>(&mut channel).await?;
        }
        let ready = Event::Ready { engine_version: "stand-in".to_owned(), uptime_ms: 1 };
        frames::write(&mut channel, &ready).await?;
        // The host sends nothing more; this ends with the machine.
        frames::read::<Boot>(&mut channel).await
    };
    drop(script.await);
}

struct NoGuest {
    engine: PathBuf,
    calls: Mutex<Option<DuplexStream>>,
    end: watch::Sender<Option<End>>,
    /// Holds the data disk's lock for as long as the machine is there.
    _config: MachineConfig,
}

impl Machine for NoGuest {
    fn dial(&self, port: u32) -> BoxFuture<'_, io::Result<BoxedStream>> {
        Box::pin(async move {
            if port != ports::DOCKER {
                return Err(io::ErrorKind::ConnectionRefused.into());
            }
            Ok(Box::new(endpoint::connect(&self.engine).await?) as BoxedStream)
        })
    }

    fn listen(&self, port: u32) -> Box<dyn Incoming> {
        // The agent here calls to say hello, and never for a published port.
        let call = if port == ports::HELLO { self.calls.lock().ok().and_then(|mut call| call.take()) } else { None };
        Box::new(Calls(call))
    }

    fn wait(&self) -> BoxFuture<'_, End> {
        let mut end = self.end.subscribe();
        Box::pin(async move {
            // The sender lives in the machine, which outlives whoever waits for it.
            let end = end.wait_for(Option::is_some).await;
            end.ok().and_then(|end| end.clone()).unwrap_or(End::Killed)
        })
    }

    fn kill(&self) -> BoxFuture<'_, ()> {
        self.end.send_replace(Some(End::Killed));
        Box::pin(async {})
    }

    fn trouble(&self) -> watch::Receiver<Option<String>> {
        watch::channel(None).1
    }

    fn exits(&self) -> BTreeMap<String, u64> {
        BTreeMap::new()
    }
}

struct Calls(Option<DuplexStream>);

impl Incoming for Calls {
    fn accept(&mut self) -> BoxFuture<'_, Option<BoxedStream>> {
        let call = self.0.take();
        Box::pin(async move {
            match call {
                Some(stream) => Some(Box::new(stream) as BoxedStream),
                None => std::future::pending().await,
            }
        })
    }
}
