//! The real image, engines and machines, for the daemon. Called through `machine::Platform`.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use lighter_vmm::virtio::vsock;
use lighter_vmm::{EngineKind, MachineConfig, Stop, hv};
use tokio::sync::watch;

use crate::guest::{BoxFuture, BoxedStream};
use crate::machine::{Cause, Chosen, End, GuestImage, Incoming, Machine, Platform};

/// This host.
#[derive(Debug)]
pub struct ThisHost;

impl Platform for ThisHost {
    fn image(&self) -> Result<GuestImage, Cause> {
        let image = lighter_image::place::open()?;
        image.verify()?;
        tracing::info!(folder = %image.dir().display(), "The guest image is whole");
        let versions = BTreeMap::from([
            ("image".to_owned(), image.name().to_owned()),
            ("kernel".to_owned(), image.manifest().kernel.version.clone()),
            ("agent".to_owned(), image.manifest().agent.version.clone()),
        ]);
        Ok(GuestImage { kernel: image.kernel(), root: image.root(), agent: image.agent(), versions })
    }

    fn choose(&self, wish: Option<EngineKind>) -> Result<Chosen, Cause> {
        let chosen = hv::choose(wish)?;
        Ok(Chosen { engine: chosen.engine, why: chosen.why })
    }

    fn start(&self, config: MachineConfig) -> Result<Arc<dyn Machine>, Cause> {
        Ok(Arc::new(Running(lighter_vmm::Machine::start(config)?)))
    }
}

struct Running(lighter_vmm::Machine);

impl Machine for Running {
    fn dial(&self, port: u32) -> BoxFuture<'_, io::Result<BoxedStream>> {
        Box::pin(async move {
            let stream = self.0.vsock().dial(port).await.map_err(io::Error::other)?;
            Ok(Box::new(stream) as BoxedStream)
        })
    }

    fn listen(&self, port: u32) -> Box<dyn Incoming> {
        Box::new(Calls(self.0.vsock().listen(port)))
    }

    fn wait(&self) -> BoxFuture<'_, End> {
        Box::pin(async {
            match self.0.wait().await {
                Stop::Reset => End::Reset,
                Stop::PoweredOff => End::PoweredOff,
                Stop::Killed => End::Killed,
                Stop::Crashed { reason } => End::Crashed(reason),
            }
        })
    }

    fn kill(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.0.kill())
    }

    fn trouble(&self) -> watch::Receiver<Option<String>> {
        self.0.trouble()
    }

    fn exits(&self) -> BTreeMap<String, u64> {
        self.0.stats().exits.into_iter().map(|(reason, count)| (reason.to_owned(), count)).collect()
    }
}

struct Calls(vsock::Incoming);

impl Incoming for Calls {
    fn accept(&mut self) -> BoxFuture<'_, Option<BoxedStream>> {
        Box::pin(async { Some(Box::new(self.0.accept().await?) as BoxedStream) })
    }
}
