//! The container engine: containerd and dockerd, started side by side, kept running, known to be ready when dockerd answers
//! `GET /_ping`. Called by `boot`, `control` and `shutdown`; `join` by `main`.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use lighter_protocol::{Event, paths};

use crate::clock;
use crate::host::{Host, Orders};
use crate::reaper::Reaper;

use supervise::{Service, Supervised};
use world::World;

/// Small requests to dockerd's API.
pub mod api;
/// A program that listens, as an event.
pub mod connect;
/// How containerd is started.
pub mod containerd;
/// The demo image.
pub mod demo;
/// How dockerd is started and when it is ready.
pub mod dockerd;
/// What such a program prints.
mod output;
/// A program that is started again when it ends.
pub mod supervise;
/// Proxies, registries and trust of the user.
pub mod world;

/// The engine.
pub struct Engine {
    containerd: Supervised,
    dockerd: Supervised,
    version: Arc<Mutex<String>>,
}

impl Engine {
    /// Starts both programs; does not wait for them.
    pub fn start(reaper: &Reaper, host: &Host, orders: &Orders) -> io::Result<Self> {
        containerd::write_config()?;
        let world = World::settle(&orders.boot.engine, &orders.certificates);
        let version = Arc::new(Mutex::new(String::new()));
        let containerd = Supervised::start(containerd_service(host), reaper, host)?;
        let dockerd = Supervised::start(dockerd_service(host, &version, world), reaper, host)?;
        Ok(Self { containerd, dockerd, version })
    }

    /// dockerd's version, empty until it has been ready once.
    pub fn version(&self) -> String {
        self.version.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Stops dockerd, which stops its containers, then containerd. Containers have `grace` to end.
    pub fn stop(&self, grace: Duration) {
        self.dockerd.stop(grace + dockerd::OWN_END);
        self.containerd.stop(containerd::OWN_END);
    }
}

fn containerd_service(host: &Host) -> Service {
    let host = host.clone();
    Service {
        name: "containerd",
        log: crate::paths::CONTAINERD_LOG,
        command: Box::new(containerd::command),
        ready: Box::new(move |ended| {
            let deadline = Instant::now() + containerd::PATIENCE;
            connect::connects(crate::paths::CONTAINERD_SOCKET.as_ref(), ended, deadline)?;
            host.stage("containerd");
            Ok(())
        }),
    }
}

fn dockerd_service(host: &Host, version: &Arc<Mutex<String>>, world: World) -> Service {
    let (host, version) = (host.clone(), Arc::clone(version));
    Service {
        name: "dockerd",
        log: crate::paths::DOCKERD_LOG,
        command: Box::new(move || dockerd::command(&world)),
        ready: Box::new(move |ended| {
            let engine_version = dockerd::answers(ended)?;
            host.stage("dockerd");
            version.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&engine_version);
            // Before `Ready`, so that whoever waits for it finds the image; it is there after the first boot.
            match demo::load() {
                Ok(true) => host.stage("demo"),
                Ok(false) => {}
                Err(error) => tracing::warn!(%error, "demo image was not loaded"),
            }
            host.report(&Event::Ready { engine_version, uptime_ms: clock::uptime_ms() });
            Ok(())
        }),
    }
}

/// Joins one connection of the host to dockerd's socket. While dockerd is down the connection just ends.
pub fn join(connection: OwnedFd, relay: impl Fn(OwnedFd, OwnedFd) -> io::Result<(u64, u64)>) {
    let joined = UnixStream::connect(paths::DOCKER_SOCKET).and_then(|dockerd| relay(connection, dockerd.into()));
    if let Err(error) = joined {
        tracing::warn!(%error, "connection to dockerd failed");
    }
}
