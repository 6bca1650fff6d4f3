//! Threads, supervisor and the ways to end, against a hypervisor that plays a script: runs on every system.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::dax::Window;
use crate::hv::{DoorbellGuard, IoBus};
use crate::irq::{Msi, MsiSink};
use crate::kick::Kick;

/// What the first vCPU does; the others wait to be kicked.
#[derive(Clone)]
enum Script {
    Return(Exit),
    Panic,
    WaitForKick,
    /// Making the last vCPU fails.
    CannotBeMade,
}

/// One vCPU's kicks: both ends, the second until the vCPU takes it.
struct Kicks(Mutex<mpsc::Sender<()>>, Mutex<Option<mpsc::Receiver<()>>>);

struct Scripted {
    script: Script,
    kicks: Vec<Kicks>,
    dropped_on_own_thread: Arc<AtomicBool>,
}

struct ScriptedVcpu {
    index: u8,
    vm: Arc<Scripted>,
    kicked: mpsc::Receiver<()>,
    thread: std::thread::ThreadId,
}

impl MsiSink for Scripted {
    fn signal(&self, _: Msi) {}
}

impl Vm for Scripted {
    type Vcpu = ScriptedVcpu;

    fn create_vcpu(self: &Arc<Self>, index: u8, _: &BootState) -> Result<ScriptedVcpu, HvError> {
        if matches!(self.script, Script::CannotBeMade) && usize::from(index) + 1 == self.kicks.len() {
            return Err(HvError { call: "MAKE_VCPU", source: std::io::ErrorKind::OutOfMemory.into() });
        }
        let kicked = self.kicks[usize::from(index)].1.lock().unwrap().take().expect("made once");
        Ok(ScriptedVcpu { index, vm: Arc::clone(self), kicked, thread: std::thread::current().id() })
    }

    fn kick(&self, index: u8) {
        self.kicks[usize::from(index)].0.lock().unwrap().send(()).unwrap_or_default();
    }

    fn doorbell(self: &Arc<Self>, _: u64, _: u32, _: Arc<Kick>) -> Option<DoorbellGuard> {
        None
    }

    fn window(&self, _: u64, _: u64) -> Option<Arc<Window>> {
        None
    }

    fn exits(&self) -> BTreeMap<&'static str, u64> {
        BTreeMap::new()
    }

    fn kernel_counters(&self) -> BTreeMap<&'static str, u64> {
        BTreeMap::new()
    }
}

impl Vcpu for ScriptedVcpu {
    fn run(&mut self, _: &dyn IoBus) -> Exit {
        match &self.vm.script {
            Script::Return(exit) if self.index == 0 => exit.clone(),
            Script::Panic if self.index == 0 => panic!("the script says so"),
            _ => {
                self.kicked.recv_timeout(DEADLINE).expect("kicked before the machine ends");
                Exit::Kicked
            }
        }
    }
}

impl Drop for ScriptedVcpu {
    fn drop(&mut self) {
        if self.thread != std::thread::current().id() {
            self.vm.dropped_on_own_thread.store(false, Ordering::SeqCst);
        }
    }
}

fn seated(script: Script) -> (Seated<Scripted>, Arc<Scripted>) {
    let kicks =
        (0..3).map(|_| mpsc::channel()).map(|(send, take)| Kicks(Mutex::new(send), Mutex::new(Some(take)))).collect();
    let vm = Arc::new(Scripted { script, kicks, dropped_on_own_thread: Arc::new(AtomicBool::new(true)) });
    let seated = Seated {
        vm: Arc::clone(&vm),
        cpus: 3,
        boot: crate::arch::any_boot_state(),
        bus: Arc::default(),
        transports: Vec::new(),
        stop: Arc::default(),
    };
    (seated, vm)
}

async fn outcome(script: Script) -> Stop {
    let (seated, vm) = seated(script);
    let engine = start(seated).expect("all vCPUs are made");
    let stop = tokio::time::timeout(DEADLINE, engine.wait()).await.expect("the machine ends");
    drop(engine);
    assert!(vm.dropped_on_own_thread.load(Ordering::SeqCst), "a vCPU was dropped on another thread");
    assert_eq!(Arc::strong_count(&vm), 1, "a thread is left");
    stop
}

#[tokio::test]
async fn every_exit_ends_the_machine_as_what_it_is() {
    assert_eq!(outcome(Script::Return(Exit::Reset)).await, Stop::Reset);
    assert_eq!(outcome(Script::Return(Exit::PoweredOff)).await, Stop::PoweredOff);
    let reason = "entry failed".to_owned();
    assert_eq!(outcome(Script::Return(Exit::Failed(reason.clone()))).await, Stop::Crashed { reason });
    assert!(
        matches!(outcome(Script::Return(Exit::Halted)).await, Stop::Crashed { reason } if reason.contains("halted"))
    );
}

#[tokio::test]
async fn a_panic_on_a_vcpu_thread_ends_the_machine_with_a_reason() {
    assert!(matches!(outcome(Script::Panic).await, Stop::Crashed { reason } if reason.contains("panicked")));
}

#[tokio::test]
async fn a_vcpu_that_cannot_be_made_is_an_error_and_the_others_go_home() {
    let (seated, vm) = seated(Script::CannotBeMade);
    let error = start(seated).map(|_| ()).expect_err("the last vCPU fails");
    assert_eq!(error.call, "MAKE_VCPU");
    let gone = async {
        while Arc::strong_count(&vm) > 1 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DEADLINE, gone).await.expect("all threads end");
}

#[tokio::test]
async fn kill_and_drop_end_a_machine_that_does_nothing() {
    let (seated, vm) = seated(Script::WaitForKick);
    let engine = start(seated).expect("all vCPUs are made");
    engine.kill().await;
    assert_eq!(engine.wait().await, Stop::Killed);
    drop(engine);
    assert_eq!(Arc::strong_count(&vm), 1);

    let (seated, vm) = self::seated(Script::WaitForKick);
    drop(start(seated).expect("all vCPUs are made"));
    let gone = async {
        while Arc::strong_count(&vm) > 1 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DEADLINE, gone).await.expect("all threads end");
}
