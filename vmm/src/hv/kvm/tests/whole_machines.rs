//! Machines with all their devices, whose kernel is a stub: they come and go without a trace, and a driver finds the disk.

use super::{CODE, DEADLINE, SPIN, skip};
use crate::arch::{layout, tiny_kernel};
use crate::config::{ConsoleSink, DiskConfig, EngineKind, MachineConfig};
use crate::engine::{StartError, Stop};
use crate::machine::Machine;

/// Starts a whole machine (disk, vsock, rng, console, balloon) whose kernel is `code`, or says that it was skipped.
fn whole_machine(code: &[&[u8]], no_doorbell: bool) -> Option<(Machine, tempfile::TempDir)> {
    let place = tempfile::tempdir().expect("a temporary directory");
    let path = place.path().join("disk");
    let file = std::fs::File::create_new(&path).expect("a new file");
    file.set_len(1 << 20).expect("a sparse file");
    let config = MachineConfig {
        engine: EngineKind::Kvm,
        cpus: 2,
        memory_bytes: 64 << 20,
        kernel: tiny_kernel(CODE, &code.concat()),
        initramfs: vec![7; 5000],
        cmdline: "quiet".into(),
        disks: vec![DiskConfig { file, path, read_only: true, serial: "root".into() }],
        network: None,
        folders: None,
        console: ConsoleSink { path: place.path().join("console.log"), max_bytes: 1 << 20 },
        runtime_dir: place.path().into(),
        no_doorbell,
    };
    match Machine::start(config) {
        Ok(machine) => Some((machine, place)),
        Err(StartError::Unusable(unusable)) => {
            skip(&unusable);
            None
        }
        Err(error) => panic!("{error}: {:?}", std::error::Error::source(&error)),
    }
}

/// Entries of a directory under `/proc/self`: open files (`fd`) or threads (`task`).
fn count(what: &str) -> usize {
    std::fs::read_dir(format!("/proc/self/{what}")).expect("/proc is mounted").count()
}

#[tokio::test]
async fn whole_machines_come_and_go_without_leaving_threads_or_files() {
    // mov al, 0xfe; out 0x64, al
    let code: [&[u8]; 2] = [&[0xb0, 0xfe, 0xe6, 0x64], &SPIN];
    let mut before = None;
    for round in 0..20 {
        let Some((machine, _place)) = whole_machine(&code, round % 2 == 0) else { return };
        if round % 4 == 3 {
            machine.kill().await;
        }
        let stop = tokio::time::timeout(DEADLINE, machine.wait()).await.expect("the machine ends");
        assert!(matches!(stop, Stop::Reset | Stop::Killed), "{stop:?}");
        drop(machine);
        // The first machine starts what the runtime keeps: its epoll and its blocking threads.
        let (files, threads) = *before.get_or_insert_with(|| (count("fd"), count("task")));
        let settled = async {
            // Aborted tasks close their files when the runtime next comes by.
            while count("fd") > files || count("task") > threads {
                tokio::task::yield_now().await;
            }
        };
        let settled = tokio::time::timeout(DEADLINE, settled).await;
        assert!(
            settled.is_ok(),
            "round {round}: {} files after {files}, {} threads after {threads}",
            count("fd"),
            count("task")
        );
    }
}

#[tokio::test]
async fn a_driver_in_the_guest_finds_the_disk_by_its_registers() {
    // mov edi, slot 0; mov eax, [rdi]; cmp eax, "virt"; jne spin; cmp dword [rdi+8], 2; jne spin; mov al, 0xfe; out 0x64, al
    let address = (crate::arch::slot(0).expect("slot 0").address as u32).to_le_bytes();
    // The slot lies beyond the first GiB, so the stub maps it: PDPT[3] = the same third level, so 0xc000_0000 + x shows x;
    // 0xd000_0000 would show RAM. Instead it points PD[0] of its own at the slot: 2 MiB page at virtual 0.
    let map = {
        let entry = (u32::from_le_bytes(address) & !0x1f_ffff) | 0x83;
        let at = (layout::PD + 511 * 8) as u32;
        // mov dword [at], entry (the upper half is zero already); virtual 1 GiB - 2 MiB now shows the slot.
        [&[0xc7, 0x04, 0x25][..], &at.to_le_bytes(), &entry.to_le_bytes()].concat()
    };
    let window = 0x3fe0_0000u32.to_le_bytes();
    let probe = [
        &[0xbf][..],
        &window,
        &[0x8b, 0x07, 0x3d],
        b"virt",
        &[0x75, 0x0a, 0x83, 0x7f, 0x08, 0x02, 0x75, 0x04, 0xb0, 0xfe, 0xe6, 0x64],
    ]
    .concat();
    let Some((machine, _place)) = whole_machine(&[&map, &probe, &SPIN], true) else { return };
    let stop = tokio::time::timeout(DEADLINE, machine.wait()).await.expect("the stub finds the device and resets");
    assert_eq!(stop, Stop::Reset);
    assert_eq!(machine.stats().exits["mmio_read"], 2);
}
