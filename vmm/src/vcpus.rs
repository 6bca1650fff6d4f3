//! The engine of a hypervisor in this process: one thread per vCPU and a supervisor task that ends them. Started by `boot`.
//!
//! ```text
//!   start ─► threads make their vCPUs ─► all ready ─► run ──stop requested──► kicked, joined ─► devices reset ─► ended
//! ```
//! Order at the end: no vCPU runs any more before devices are reset, and no device task touches guest memory any more
//! before the memory goes.

use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::watch;

use crate::arch::BootState;
use crate::bus::Bus;
use crate::engine::{BoxFuture, RunningEngine, Stats, Stop};
use crate::hv::{Exit, HvError, Vcpu, Vm};
use crate::stop::StopLatch;
use crate::virtio::mmio::MmioTransport;

/// How long one vCPU may take to be made, and all of a machine to be taken down.
const DEADLINE: Duration = Duration::from_secs(10);

/// A machine whose vCPUs can be started.
pub struct Seated<V: Vm> {
    /// The machine.
    pub vm: Arc<V>,
    /// How many vCPUs.
    pub cpus: u8,
    /// The first vCPU's state.
    pub boot: BootState,
    /// Where device accesses go.
    pub bus: Arc<Bus>,
    /// The virtio devices on the bus, to be reset at the end.
    pub transports: Vec<Arc<MmioTransport>>,
    /// Ends the run.
    pub stop: Arc<StopLatch>,
}

/// Makes all vCPUs, each on its own thread, lets them run, and returns the engine. Called inside a tokio runtime.
pub fn start<V: Vm>(seated: Seated<V>) -> Result<Box<dyn RunningEngine>, HvError> {
    let seated = Arc::new(seated);
    let (mut threads, mut gates) = (Vec::new(), Vec::new());
    for index in 0..seated.cpus {
        let (gate, wait_for_gate) = mpsc::channel();
        let (ready, wait_until_ready) = mpsc::channel();
        let thread = Thread { seated: Arc::clone(&seated), index, runtime: Handle::current() };
        let name = format!("vcpu{index}");
        let spawned = std::thread::Builder::new().name(name).spawn(move || thread.run(&ready, &wait_for_gate));
        threads.push(spawned.map_err(|source| HvError { call: "Starting a vCPU thread", source })?);
        gates.push(gate);
        wait_until_ready.recv_timeout(DEADLINE).unwrap_or_else(|error| {
            // A closed channel means that the thread panicked, which the log has.
            let text = match error {
                RecvTimeoutError::Timeout => "it was not ready in time",
                RecvTimeoutError::Disconnected => "it ended unexpectedly",
            };
            Err(HvError { call: "Making a vCPU", source: std::io::Error::other(text) })
        })?;
    }
    // On an early return above the gates are dropped, and every thread that waits at one goes home.
    gates.iter().for_each(|gate| gate.send(()).unwrap_or_default());
    let (ended, wait_for_end) = watch::channel(None);
    tokio::spawn(supervise(Arc::clone(&seated), threads, ended));
    Ok(Box::new(InProcess { seated, ended: wait_for_end }))
}

/// One vCPU's thread.
struct Thread<V: Vm> {
    seated: Arc<Seated<V>>,
    index: u8,
    runtime: Handle,
}

impl<V: Vm> Thread<V> {
    fn run(self, ready: &mpsc::Sender<Result<(), HvError>>, gate: &mpsc::Receiver<()>) {
        let _alarm = Alarm(Arc::clone(&self.seated.stop));
        // Devices spawn their tasks from here when the driver activates them.
        let _runtime = self.runtime.enter();
        let mut vcpu = match self.seated.vm.create_vcpu(self.index, &self.seated.boot) {
            Ok(vcpu) => vcpu,
            Err(error) => return ready.send(Err(error)).unwrap_or_default(),
        };
        if ready.send(Ok(())).is_err() || gate.recv().is_err() {
            return;
        }
        let stop = &self.seated.stop;
        while !stop.is_requested() {
            match vcpu.run(&*self.seated.bus) {
                Exit::Kicked => {}
                Exit::Reset => stop.request(Stop::Reset),
                Exit::PoweredOff => stop.request(Stop::PoweredOff),
                Exit::Halted => {
                    stop.request(Stop::Crashed { reason: format!("vCPU {} halted for good", self.index) });
                }
                Exit::Failed(reason) => {
                    tracing::error!(vcpu = self.index, %reason, "the hypervisor cannot go on");
                    stop.request(Stop::Crashed { reason });
                }
            }
        }
    }
}

/// Ends the machine if a vCPU thread ends by a panic.
struct Alarm(Arc<StopLatch>);

impl Drop for Alarm {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.request(Stop::Crashed { reason: "a vCPU thread panicked; the log has details".into() });
        }
    }
}

/// Kicks all vCPUs out of the guest for good, also if the supervisor is dropped with its runtime.
struct Expel<V: Vm>(Arc<Seated<V>>);

impl<V: Vm> Drop for Expel<V> {
    fn drop(&mut self) {
        self.0.stop.request(Stop::Killed);
        (0..self.0.cpus).for_each(|index| self.0.vm.kick(index));
    }
}

async fn supervise<V: Vm>(seated: Arc<Seated<V>>, threads: Vec<JoinHandle<()>>, ended: watch::Sender<Option<Stop>>) {
    let expel = Expel(Arc::clone(&seated));
    let stop = seated.stop.requested().await;
    drop(expel);
    let cleanup = tokio::task::spawn_blocking(move || {
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("a vCPU thread panicked");
            }
        }
        seated.transports.iter().for_each(|transport| transport.shut_down());
    });
    match tokio::time::timeout(DEADLINE, cleanup).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::error!(%error, "the machine was not taken down cleanly"),
        // What hangs keeps its share of the machine, so nothing is freed under it; but nobody has to wait for it.
        Err(_) => tracing::error!("vCPU threads or devices did not end in time"),
    }
    tracing::info!(?stop, "machine ended");
    ended.send_replace(Some(stop));
}

/// The running engine.
struct InProcess<V: Vm> {
    seated: Arc<Seated<V>>,
    ended: watch::Receiver<Option<Stop>>,
}

impl<V: Vm> RunningEngine for InProcess<V> {
    fn wait(&self) -> BoxFuture<'_, Stop> {
        let mut ended = self.ended.clone();
        Box::pin(async move {
            match ended.wait_for(Option::is_some).await {
                Ok(stop) => stop.clone().unwrap_or(Stop::Killed),
                // The supervisor went with its runtime, and has expelled the vCPUs on the way.
                Err(_) => Stop::Killed,
            }
        })
    }

    fn kill(&self) -> BoxFuture<'_, ()> {
        self.seated.stop.request(Stop::Killed);
        Box::pin(async move {
            self.wait().await;
        })
    }

    fn stats(&self) -> Stats {
        Stats { exits: self.seated.vm.exits(), kernel: self.seated.vm.kernel_counters() }
    }
}

impl<V: Vm> Drop for InProcess<V> {
    fn drop(&mut self) {
        self.seated.stop.request(Stop::Killed);
    }
}

#[cfg(test)]
mod tests;
