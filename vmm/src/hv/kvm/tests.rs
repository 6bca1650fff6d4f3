//! The backend against a real `/dev/kvm`, with guests of a few instructions. Without a `/dev/kvm` they fail, unless [`WITHOUT`]
//! says that this is known: `cargo xtask test unit` sets it, and says so, where there is none.

mod whole_machines;
mod windows;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::system::Kvm;
use super::vm::KvmVm;
use crate::arch::layout;
use crate::arch::stub::{Access, CODE, DEVICE, DEVICE_TO_RDI, Recorder, Rig, SPIN, TRIPLE_FAULT};
use crate::bus::{Bus, BusDevice};
use crate::devices::i8042::I8042;
use crate::engine::{RunningEngine, Stop};
use crate::hv::{Exit, IoBus, Unusable, Vcpu, Vm};
use crate::kick::Kick;
use crate::stop::StopLatch;
use crate::vcpus::{self, Seated};

const DEADLINE: Duration = Duration::from_secs(30);

/// Environment variable: there is no `/dev/kvm` here, and whoever started the tests has said so.
const WITHOUT: &str = "LIGHTER_TESTS_WITHOUT_KVM";

/// Leaves the test out if that is known, and fails it if not.
fn skip(unusable: &Unusable) {
    let known = std::env::var_os(WITHOUT).is_some();
    assert!(known, "{unusable}. To leave these tests out, set {WITHOUT}=1 or run `cargo xtask test unit`");
    eprintln!("SKIPPED: {unusable}");
}

/// A machine with `code` at its entry, or `None` where it is known that there is no `/dev/kvm`.
fn rig(cpus: u8, code: &[&[u8]]) -> Option<Rig<KvmVm>> {
    let kvm = match Kvm::open() {
        Ok(kvm) => kvm,
        Err(unusable) => {
            skip(&unusable);
            return None;
        }
    };
    Some(Rig::new(&kvm, cpus, code))
}

#[test]
fn accesses_arrive_as_callbacks_and_reads_reach_the_guest() {
    // mov dword [rdi], 0x12345678; mov ebx, [rdi]; mov [rdi+8], ebx; in al, 0x60; out 0x10, al
    let code = [0xc7, 0x07, 0x78, 0x56, 0x34, 0x12, 0x8b, 0x1f, 0x89, 0x5f, 0x08, 0xe4, 0x60, 0xe6, 0x10];
    let Some(rig) = rig(1, &[&DEVICE_TO_RDI, &code, &TRIPLE_FAULT]) else { return };
    let mut vcpu = rig.vm.create_vcpu(0, &rig.boot).expect("the first vCPU");
    let bus = Recorder::default();
    assert_eq!(vcpu.run(&bus), Exit::Reset, "m7: a triple fault is a reset");
    let expected = [
        Access::MmioWrite(DEVICE, vec![0x78, 0x56, 0x34, 0x12]),
        Access::MmioRead(DEVICE, 4),
        Access::MmioWrite(DEVICE + 8, vec![0x5a; 4]),
        Access::PioRead(0x60, 1),
        Access::PioWrite(0x10, vec![0x5a]),
    ];
    assert_eq!(bus.taken(), expected);
    let exits = rig.vm.exits();
    if let Some(&all) = rig.vm.kernel_counters().get("exits") {
        assert!(all >= 5, "the kernel saw {all} exits");
    }
    assert_eq!((exits["mmio_write"], exits["mmio_read"], exits["pio_read"], exits["pio_write"]), (2, 1, 1, 1));
}

#[test]
fn a_kick_before_the_run_is_not_lost() {
    let Some(rig) = rig(1, &[&SPIN]) else { return };
    rig.vm.kick(0);
    let mut vcpu = rig.vm.create_vcpu(0, &rig.boot).expect("the first vCPU");
    assert_eq!(vcpu.run(&Recorder::default()), Exit::Kicked);
    rig.vm.kick(0);
    rig.vm.kick(0);
    assert_eq!(vcpu.run(&Recorder::default()), Exit::Kicked);
}

#[test]
fn a_kick_from_another_thread_ends_a_run() {
    // Tell the host that the guest runs, then spin.
    let Some(rig) = rig(1, &[&[0xe6, 0x10], &SPIN]) else { return };
    let (running, wait) = std::sync::mpsc::channel();
    struct Announce(std::sync::mpsc::Sender<()>);
    impl IoBus for Announce {
        fn mmio_read(&self, _: u64, _: &mut [u8]) {}
        fn mmio_write(&self, _: u64, _: &[u8]) {}
        fn pio_read(&self, _: u16, _: &mut [u8]) {}
        fn pio_write(&self, _: u16, _: &[u8]) {
            self.0.send(()).expect("the test listens");
        }
    }
    let vm = Arc::clone(&rig.vm);
    let thread = std::thread::spawn(move || {
        let mut vcpu = vm.create_vcpu(0, &rig.boot).expect("the first vCPU");
        vcpu.run(&Announce(running))
    });
    wait.recv_timeout(DEADLINE).expect("the guest runs");
    rig.vm.kick(0);
    assert_eq!(thread.join().expect("no panic"), Exit::Kicked);
    // The seat is empty again: a late kick finds nobody and hurts nobody.
    rig.vm.kick(0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_doorbell_signals_its_queue_without_an_exit_and_only_for_its_value() {
    // mov dword [rdi], 1; mov dword [rdi], 2
    let code = [0xc7, 0x07, 1, 0, 0, 0, 0xc7, 0x07, 2, 0, 0, 0];
    let Some(rig) = rig(1, &[&DEVICE_TO_RDI, &code, &TRIPLE_FAULT]) else { return };
    let kick = Arc::new(Kick::default());
    let doorbell = rig.vm.doorbell(DEVICE, 1, Arc::clone(&kick)).expect("KVM has doorbells");
    let bus = Arc::new(Recorder::default());
    let run = |vm: &Arc<KvmVm>| {
        let (vm, bus, boot) = (Arc::clone(vm), Arc::clone(&bus), rig.boot.clone());
        std::thread::spawn(move || vm.create_vcpu(0, &boot).expect("a vCPU").run(&*bus)).join().expect("no panic")
    };
    assert_eq!(run(&rig.vm), Exit::Reset);
    tokio::time::timeout(DEADLINE, kick.notified()).await.expect("the doorbell rings");
    assert_eq!(bus.taken(), [Access::MmioWrite(DEVICE, vec![2, 0, 0, 0])]);
    drop(doorbell);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_doorbell_given_back_lets_the_write_reach_the_bus() {
    let Some(rig) = rig(1, &[&DEVICE_TO_RDI, &[0xc7, 0x07, 1, 0, 0, 0], &TRIPLE_FAULT]) else { return };
    drop(rig.vm.doorbell(DEVICE, 1, Arc::default()).expect("KVM has doorbells"));
    let bus = Recorder::default();
    let mut vcpu = rig.vm.create_vcpu(0, &rig.boot).expect("the first vCPU");
    assert_eq!(vcpu.run(&bus), Exit::Reset);
    assert_eq!(bus.taken(), [Access::MmioWrite(DEVICE, vec![1, 0, 0, 0])]);
}

/// Starts `rig` as an engine with the machine's port devices and a counter at [`DEVICE`].
fn start(rig: &Rig<KvmVm>, cpus: u8, writes: &Arc<AtomicU64>) -> Box<dyn RunningEngine> {
    struct Count(Arc<AtomicU64>);
    impl BusDevice for Count {
        fn read(&self, _: u64, data: &mut [u8]) {
            data.fill(0);
        }
        fn write(&self, _: u64, _: &[u8]) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    let stop = Arc::new(StopLatch::default());
    let mut bus = Bus::default();
    assert!(bus.add_mmio(DEVICE, 0x10, Arc::new(Count(Arc::clone(writes)))));
    assert!(bus.add_pio(layout::I8042, layout::I8042_SIZE, Arc::new(I8042::new(Arc::clone(&stop)))));
    let seated = Seated {
        vm: Arc::clone(&rig.vm),
        cpus,
        boot: rig.boot.clone(),
        bus: Arc::new(bus),
        transports: Vec::new(),
        stop,
    };
    vcpus::start(seated).expect("vCPUs start")
}

async fn end(engine: &dyn RunningEngine) -> Stop {
    tokio::time::timeout(DEADLINE, engine.wait()).await.expect("the machine ends")
}

#[tokio::test]
async fn m7_the_keyboard_controller_resets_a_running_machine() {
    // mov al, 0xfe; out 0x64, al
    let Some(rig) = rig(2, &[&[0xb0, 0xfe, 0xe6, 0x64], &SPIN]) else { return };
    let engine = start(&rig, 2, &Arc::default());
    assert_eq!(end(&*engine).await, Stop::Reset);
    assert_eq!(end(&*engine).await, Stop::Reset, "everybody who asks hears the same");
}

#[tokio::test]
async fn m7_a_triple_fault_resets_and_every_thread_and_byte_is_given_back() {
    let Some(rig) = rig(2, &[&TRIPLE_FAULT]) else { return };
    let engine = start(&rig, 2, &Arc::default());
    assert_eq!(end(&*engine).await, Stop::Reset);
    drop(engine);
    let Rig { vm, memory, .. } = rig;
    assert_eq!(Arc::strong_count(&vm), 1, "no thread or task holds the machine");
    drop(vm);
    assert_eq!(Arc::strong_count(&memory), 1, "nothing holds guest memory");
}

/// Waits until the guest has written to [`DEVICE`] `count` times.
async fn written(writes: &AtomicU64, count: u64) {
    let written = async {
        while writes.load(Ordering::SeqCst) < count {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(DEADLINE, written).await.expect("the guest runs");
}

#[tokio::test]
async fn m7_a_reset_at_any_moment_ends_a_machine_that_writes_to_a_device() {
    // Each round resets later than the one before: mov ecx, n; 1: mov dword [rdi], ecx; loop 1b; mov al, 0xfe; out 0x64, al
    for round in (0..200u32).step_by(13) {
        let count = [&[0xb9][..], &(round + 1).to_le_bytes()].concat();
        let body = [0x89, 0x0f, 0xe2, 0xfc, 0xb0, 0xfe, 0xe6, 0x64];
        let Some(rig) = rig(1, &[&DEVICE_TO_RDI, &count, &body, &SPIN]) else { return };
        let writes = Arc::new(AtomicU64::new(0));
        let engine = start(&rig, 1, &writes);
        assert_eq!(end(&*engine).await, Stop::Reset);
        assert_eq!(writes.load(Ordering::SeqCst), u64::from(round) + 1, "nothing runs twice or after the reset");
        drop(engine);
        assert_eq!(Arc::strong_count(&rig.vm), 1, "no thread or task holds the machine");
    }
}

#[tokio::test]
async fn m7_a_processor_that_halts_with_interrupts_off_can_be_killed() {
    // mov dword [rdi], 1; cli; 1: hlt; jmp 1b
    let code = [0xc7, 0x07, 1, 0, 0, 0, 0xfa, 0xf4, 0xeb, 0xfd];
    let Some(rig) = rig(1, &[&DEVICE_TO_RDI, &code]) else { return };
    let writes = Arc::new(AtomicU64::new(0));
    let engine = start(&rig, 1, &writes);
    written(&writes, 1).await;
    tokio::time::timeout(DEADLINE, engine.kill()).await.expect("kill returns");
    assert_eq!(end(&*engine).await, Stop::Killed);
    drop(engine);
    assert_eq!(Arc::strong_count(&rig.vm), 1);
}

#[tokio::test]
async fn a_machine_that_spins_is_killed() {
    let Some(rig) = rig(2, &[&DEVICE_TO_RDI, &[0xc7, 0x07, 1, 0, 0, 0], &SPIN]) else { return };
    let writes = Arc::new(AtomicU64::new(0));
    let engine = start(&rig, 2, &writes);
    tokio::time::timeout(DEADLINE, engine.kill()).await.expect("kill returns");
    assert_eq!(end(&*engine).await, Stop::Killed);
    drop(engine);
    assert_eq!(Arc::strong_count(&rig.vm), 1);
}

#[test]
fn a_runtime_that_goes_away_takes_the_machine_along() {
    let Some(rig) = rig(1, &[&SPIN]) else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().expect("a runtime");
    let engine = runtime.block_on(async { start(&rig, 1, &Arc::default()) });
    runtime.shutdown_background();
    let other = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    assert_eq!(other.block_on(async { end(&*engine).await }), Stop::Killed);
}
