//! The backend against the platform itself, with guests of a few instructions. Without the platform they fail, unless
//! [`WITHOUT`] says that this is known.

use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use vm_memory::{Bytes, GuestAddress};

use super::system::Whp;
use super::vm::WhpVm;
use crate::arch::stub::{Access, CODE, DEVICE, DEVICE_TO_RDI, Recorder, Rig, SPIN, TRIPLE_FAULT};
use crate::arch::{layout, tiny_kernel};
use crate::bus::{Bus, BusDevice};
use crate::config::{ConsoleSink, DiskConfig, EngineKind, MachineConfig};
use crate::devices::i8042::I8042;
use crate::engine::{RunningEngine, StartError, Stop};
use crate::hv::{Exit, Unusable, Vcpu, Vm};
use crate::kick::Kick;
use crate::machine::Machine;
use crate::stop::StopLatch;
use crate::vcpus::{self, Seated};

const DEADLINE: Duration = Duration::from_secs(30);

/// Environment variable: there is no platform here, and whoever started the tests has said so.
const WITHOUT: &str = "LIGHTER_TESTS_WITHOUT_WHP";

/// A machine with `code` at its entry, or `None` where it is known that there is no platform.
fn rig(cpus: u8, code: &[&[u8]]) -> Option<Rig<WhpVm>> {
    match Whp::open() {
        Ok(whp) => Some(Rig::new(&whp, cpus, code)),
        Err(unusable) => {
            skip(&unusable);
            None
        }
    }
}

/// Leaves the test out if it is known that there is no platform, and fails it if not.
fn skip(unusable: &Unusable) {
    let known = std::env::var_os(WITHOUT).is_some();
    assert!(known, "{unusable}. To leave these tests out, set {WITHOUT}=1");
    eprintln!("SKIPPED: {unusable}");
}

/// Tells of every byte that the guest writes to a port.
struct Announce(mpsc::Sender<Vec<u8>>);

impl BusDevice for Announce {
    fn read(&self, _: u64, data: &mut [u8]) {
        data.fill(0);
    }

    fn write(&self, _: u64, data: &[u8]) {
        self.0.send(data.to_vec()).unwrap_or_default();
    }
}

/// Starts `rig` as an engine with the machine's reset line and one more device, on `port`.
fn start(rig: &Rig<WhpVm>, cpus: u8, port: u16, device: Arc<dyn BusDevice>) -> Box<dyn RunningEngine> {
    let stop = Arc::new(StopLatch::default());
    let mut bus = Bus::default();
    assert!(bus.add_pio(layout::I8042, layout::I8042_SIZE, Arc::new(I8042::new(Arc::clone(&stop)))));
    assert!(bus.add_pio(port, 1, device));
    let (vm, boot) = (Arc::clone(&rig.vm), rig.boot.clone());
    vcpus::start(Seated { vm, cpus, boot, bus: Arc::new(bus), transports: Vec::new(), stop }).expect("vCPUs start")
}

/// What the guest writes to [`DEVICE`] before it faults, as numbers, and the machine.
fn written(code: &[&[u8]]) -> Option<(Vec<u32>, Arc<WhpVm>)> {
    let rig = rig(1, &[&[&DEVICE_TO_RDI[..]], code, &[&TRIPLE_FAULT]].concat())?;
    let mut vcpu = rig.vm.create_vcpu(0, &rig.boot).expect("the first vCPU");
    let bus = Recorder::default();
    assert_eq!(vcpu.run(&bus), Exit::Reset);
    let number = |access| match access {
        Access::MmioWrite(DEVICE, data) => u32::from_le_bytes(data.try_into().expect("four bytes")),
        other => panic!("{other:?}"),
    };
    Some((bus.taken().into_iter().map(number).collect(), rig.vm))
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
    assert_eq!((exits["mmio_write"], exits["mmio_read"], exits["pio_read"], exits["pio_write"]), (2, 1, 1, 1));
}

#[test]
fn an_instruction_that_is_no_plain_move_goes_to_the_emulator() {
    // add dword [rdi], 1
    let Some(rig) = rig(1, &[&DEVICE_TO_RDI, &[0x83, 0x07, 0x01], &TRIPLE_FAULT]) else { return };
    let mut vcpu = rig.vm.create_vcpu(0, &rig.boot).expect("the first vCPU");
    let bus = Recorder::default();
    assert_eq!(vcpu.run(&bus), Exit::Reset);
    assert_eq!(bus.taken(), [Access::MmioRead(DEVICE, 4), Access::MmioWrite(DEVICE, vec![0x5b, 0x5a, 0x5a, 0x5a])]);
    assert_eq!(rig.vm.exits()["emulated"], 1);
}

#[test]
fn the_guest_finds_a_hyper_v() {
    // mov eax, 0x40000000; cpuid; mov [rdi], ebx
    let Some((answers, _)) = written(&[&[0xb8, 0, 0, 0, 0x40, 0x0f, 0xa2, 0x89, 0x1f]]) else { return };
    assert_eq!(answers[0].to_le_bytes(), *b"Micr");
}

#[test]
fn local_apics_are_of_the_old_kind_and_their_timer_goes_on() {
    // mov eax, 1; cpuid; mov [rdi], ecx; mov eax, 6; cpuid; mov [rdi], eax
    let code = [0xb8, 1, 0, 0, 0, 0x0f, 0xa2, 0x89, 0x0f, 0xb8, 6, 0, 0, 0, 0x0f, 0xa2, 0x89, 0x07];
    let Some((answers, vm)) = written(&[&code]) else { return };
    if vm.exits()["cpuid"] == 0 {
        eprintln!("SKIPPED: this platform is not Windows' own and does not ask about CPUID");
        return;
    }
    assert_eq!((answers[0] >> 31, answers[0] >> 21 & 1), (1, 0), "a hypervisor without x2APIC");
    assert_eq!(answers[1] >> 2 & 1, 1);
}

#[test]
fn the_guest_reads_its_frequency_and_nothing_from_registers_that_are_none() {
    // mov ecx, 0x40000022; rdmsr; mov [rdi], eax; mov ecx, 0x12345; rdmsr; mov [rdi], eax; wrmsr; mov [rdi], ecx
    let frequency = [0xb9, 0x22, 0, 0, 0x40, 0x0f, 0x32, 0x89, 0x07];
    let none = [0xb9, 0x45, 0x23, 0x01, 0, 0x0f, 0x32, 0x89, 0x07, 0x0f, 0x30, 0x89, 0x0f];
    let Some((answers, _)) = written(&[&frequency, &none]) else { return };
    assert!(answers[0] > 0);
    assert_eq!(answers[1..], [0, 0x12345]);
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
    let (running, wait) = mpsc::channel();
    let vm = Arc::clone(&rig.vm);
    let thread = std::thread::spawn(move || {
        let mut vcpu = vm.create_vcpu(0, &rig.boot).expect("the first vCPU");
        let mut bus = Bus::default();
        assert!(bus.add_pio(0x10, 1, Arc::new(Announce(running))));
        vcpu.run(&bus)
    });
    wait.recv_timeout(DEADLINE).expect("the guest runs");
    rig.vm.kick(0);
    assert_eq!(thread.join().expect("no panic"), Exit::Kicked);
    // The seat is empty again: a late kick finds nobody and hurts nobody.
    rig.vm.kick(0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_processor_starts_another() {
    // The local APICs, at virtual 1 GiB - 2 MiB by the last entry of the boot page tables.
    let entry = (layout::PD + 511 * 8) as u32;
    let show =
        [&[0xc7, 0x04, 0x25][..], &entry.to_le_bytes(), &(layout::LOCAL_APIC as u32 | 0x83).to_le_bytes()].concat();
    // mov ebx, window; invlpg [rbx]; mov dword [rbx+0xf0], 0x1ff, which switches its own on; then, to processor 1:
    // mov dword [rbx+0x310], 1 << 24; mov dword [rbx+0x300], INIT; mov dword [rbx+0x300], start at page 0x10
    let orders = [
        &[0xbb][..],
        &0x3fe0_0000u32.to_le_bytes(),
        &[0x0f, 0x01, 0x3b],
        &[0xc7, 0x83, 0xf0, 0x00, 0, 0, 0xff, 0x01, 0, 0],
        &[0xc7, 0x83, 0x10, 0x03, 0, 0, 0, 0, 0, 0x01],
        &[0xc7, 0x83, 0x00, 0x03, 0, 0, 0, 0x45, 0, 0],
        &[0xc7, 0x83, 0x00, 0x03, 0, 0, 0x10, 0x46, 0, 0],
    ]
    .concat();
    let Some(rig) = rig(2, &[&show, &orders, &SPIN]) else { return };
    // In real mode, at the page: mov al, 0x42; out 0x10, al; jmp .
    rig.memory.write_slice(&[0xb0, 0x42, 0xe6, 0x10, 0xeb, 0xfe], GuestAddress(0x1_0000)).expect("in RAM");
    let (told, wait) = mpsc::channel();
    let engine = start(&rig, 2, 0x10, Arc::new(Announce(told)));
    let said = wait.recv_timeout(DEADLINE);
    tokio::time::timeout(DEADLINE, engine.kill()).await.expect("kill returns");
    assert_eq!(said, Ok(vec![0x42]), "{:?}", rig.vm.exits());
}

#[tokio::test]
async fn a_doorbell_signals_its_queue_without_an_exit_and_only_for_its_value() {
    // mov dword [rdi], 1; mov dword [rdi], 2
    let code = [0xc7, 0x07, 1, 0, 0, 0, 0xc7, 0x07, 2, 0, 0, 0];
    let Some(rig) = rig(1, &[&DEVICE_TO_RDI, &code, &TRIPLE_FAULT]) else { return };
    let kick = Arc::new(Kick::default());
    let Some(doorbell) = rig.vm.doorbell(DEVICE, 1, Arc::clone(&kick)) else { return };
    let bus = Recorder::default();
    let mut vcpu = rig.vm.create_vcpu(0, &rig.boot).expect("the first vCPU");
    assert_eq!(vcpu.run(&bus), Exit::Reset);
    tokio::time::timeout(DEADLINE, kick.notified()).await.expect("the doorbell rings");
    assert_eq!(bus.taken(), [Access::MmioWrite(DEVICE, vec![2, 0, 0, 0])]);
    drop(doorbell);
    drop(vcpu);
    assert_eq!(Arc::strong_count(&rig.vm), 1, "no doorbell holds the machine");
}

#[tokio::test]
async fn m7_the_keyboard_controller_resets_a_running_machine_and_everything_is_given_back() {
    // mov al, 0xfe; out 0x64, al; the second processor is never started.
    let Some(rig) = rig(2, &[&[0xb0, 0xfe, 0xe6, 0x64], &SPIN]) else { return };
    let engine = start(&rig, 2, 0x10, Arc::new(Announce(mpsc::channel().0)));
    let stopped = tokio::time::timeout(DEADLINE, engine.wait()).await.expect("the machine ends");
    assert_eq!(stopped, Stop::Reset);
    drop(engine);
    let Rig { vm, memory, .. } = rig;
    assert_eq!(Arc::strong_count(&vm), 1, "no thread or task holds the machine");
    drop(vm);
    assert_eq!(Arc::strong_count(&memory), 1, "nothing holds guest memory");
}

#[tokio::test]
async fn whole_machines_start_with_their_devices_and_end_when_the_guest_resets() {
    // mov al, 0xfe; out 0x64, al
    let kernel = tiny_kernel(CODE, &[0xb0, 0xfe, 0xe6, 0x64, 0xeb, 0xfe]);
    for no_doorbell in [false, true] {
        let place = tempfile::tempdir().expect("a temporary directory");
        let path = place.path().join("disk");
        let file = std::fs::File::create_new(&path).expect("a new file");
        file.set_len(1 << 20).expect("a sparse file");
        let config = MachineConfig {
            engine: EngineKind::Whp,
            cpus: 2,
            memory_bytes: 64 << 20,
            kernel: kernel.clone(),
            initramfs: vec![7; 5000],
            cmdline: "quiet".into(),
            disks: vec![DiskConfig { file, path, read_only: true, serial: "root".into() }],
            network: None,
            folders: None,
            console: ConsoleSink { path: place.path().join("console.log"), max_bytes: 1 << 20 },
            runtime_dir: place.path().into(),
            no_doorbell,
        };
        let machine =
            match crate::hv::probe(EngineKind::Whp).map_err(StartError::from).and_then(|()| Machine::start(config)) {
                Ok(machine) => machine,
                Err(StartError::Unusable(unusable)) => return skip(&unusable),
                Err(error) => panic!("{error}: {:?}", std::error::Error::source(&error)),
            };
        let stop = tokio::time::timeout(DEADLINE, machine.wait()).await.expect("the machine ends");
        assert_eq!(stop, Stop::Reset);
        assert_eq!(machine.stats().exits["pio_write"], 1);
    }
}
