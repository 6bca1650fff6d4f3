//! What goes through local APICs: an application processor started by the guest's INIT and SIPI, interrupts by edge and by
//! level with the end of the latter told, and a model-specific register that nobody knows.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use windows_sys::Win32::System::Hypervisor::*;

use crate::emulator::Emulator;
use crate::machine::{CODE, Machine, ok};
use crate::sys::Api;

const INIT_SIPI_TRAP: u64 = 1 << 6;
const MSR_EXIT: u64 = 1 << 1;

/// Writes INIT and SIPI (vector 3) for APIC id 1 to the interrupt command register, then loops.
const STARTER: &[u8] = &[
    0xb8, 0x00, 0x03, 0xe0, 0xfe, // mov eax, 0xfee00300
    0xc7, 0x40, 0x10, 0x00, 0x00, 0x00, 0x01, // mov dword [rax+0x10], 1<<24
    0xc7, 0x00, 0x00, 0x45, 0x00, 0x00, // mov dword [rax], 0x4500
    0xc7, 0x40, 0x10, 0x00, 0x00, 0x00, 0x01, // mov dword [rax+0x10], 1<<24
    0xc7, 0x00, 0x03, 0x46, 0x00, 0x00, // mov dword [rax], 0x4603
    0xeb, 0xfe, // jmp to itself
];
/// Real mode at 0x3000: mov al, 7; out 0x20, al; jmp to itself.
const STARTED: &[u8] = &[0xb0, 0x07, 0xe6, 0x20, 0xeb, 0xfe];

/// The guest starts its second processor.
pub fn startup(api: &Arc<Api>) {
    let machine = Machine::new(api, 2, true, INIT_SIPI_TRAP);
    // KVM finds the other APICs only after one of them was switched on, which every kernel does first.
    machine.write(CODE, &[SWITCH_ON, STARTER].concat());
    machine.write(0x3000, STARTED);
    machine.create_long_mode_vp(0, CODE);
    machine.create_vp(1);
    assert_eq!(machine.get(1, WHvRegisterInternalActivityState) & 1, 1, "waits for its start");
    let mut commands = Vec::new();
    while commands.len() < 2 {
        let exit = machine.run(0);
        assert_eq!(exit.ExitReason, WHvRunVpExitReasonX64ApicInitSipiTrap);
        // SAFETY: the reason says which context it is.
        commands.push(unsafe { exit.Anonymous.ApicInitSipi.ApicIcr });
    }
    let [init, sipi] = commands[..] else { panic!("two commands") };
    assert_eq!((init >> 56, init >> 8 & 7, sipi >> 56, sipi >> 8 & 7, sipi & 0xff), (1, 5, 1, 6, 3));
    start_second(&machine, u64::from(sipi as u8));
    println!("startup: INIT and SIPI told, the second processor runs in real mode");
}

/// The VMM starts the second processor, whose thread waits in a run already; a cancellation ends such a wait too.
pub fn start_by_hand(api: &Arc<Api>) {
    let machine = Machine::new(api, 2, true, INIT_SIPI_TRAP);
    machine.write(0x3000, STARTED);
    machine.create_long_mode_vp(0, CODE);
    machine.create_vp(1);
    thread::scope(|scope| {
        let waiting = scope.spawn(|| machine.run(1).ExitReason);
        thread::sleep(Duration::from_millis(30));
        // SAFETY: as the page says.
        ok("cancel", unsafe { (machine.api.cancel)(machine.handle, 1, 0) });
        assert_eq!(waiting.join().expect("the processor's thread"), WHvRunVpExitReasonCanceled);
    });
    start_second(&machine, 3);
    // Nobody sent an INIT or SIPI, so none is told: the first processor's loop is left by its cancellation only.
    machine.write(CODE, &[0xeb, 0xfe]);
    thread::scope(|scope| {
        scope.spawn(|| {
            thread::sleep(Duration::from_millis(50));
            // SAFETY: as the page says.
            ok("cancel", unsafe { (machine.api.cancel)(machine.handle, 0, 0) });
        });
        assert_eq!(machine.run(0).ExitReason, WHvRunVpExitReasonCanceled);
    });
    println!("start: a processor waits, is cancelled, and started by its registers");
}

fn start_second(machine: &Machine, page: u64) {
    thread::scope(|scope| {
        let runs = scope.spawn(|| {
            let emulator = Emulator::new(machine, 1);
            let exit = machine.run(1);
            assert_eq!((exit.ExitReason, exit.VpContext.Rip), (WHvRunVpExitReasonX64IoPortAccess, 2));
            emulator.emulate(&exit);
            emulator.take_log()
        });
        thread::sleep(Duration::from_millis(30));
        let code = WHV_X64_SEGMENT_REGISTER {
            Base: page << 12,
            Limit: 0xffff,
            Selector: (page << 8) as u16,
            Anonymous: WHV_X64_SEGMENT_REGISTER_0 { Attributes: 0x9b },
        };
        let number = |value| WHV_REGISTER_VALUE { Reg64: value };
        machine.set(
            1,
            &[
                (WHvX64RegisterCs, WHV_REGISTER_VALUE { Segment: code }),
                (WHvX64RegisterRip, number(0)),
                (WHvX64RegisterRflags, number(2)),
                (WHvRegisterInternalActivityState, number(0)),
            ],
        );
        assert_eq!(runs.join().expect("the processor's thread"), ["out 0x20 size 1 = 0x7"]);
    });
}

/// sti; loop: hlt; jmp loop.
const SLEEPER: &[u8] = &[0xfb, 0xf4, 0xeb, 0xfd];
/// out 0x30, al; mov ecx, 0xfee000b0; mov dword [rcx], 0; iretq
const HANDLER: &[u8] = &[0xe6, 0x30, 0xb9, 0xb0, 0x00, 0xe0, 0xfe, 0xc7, 0x01, 0, 0, 0, 0, 0x48, 0xcf];
/// Switches the local APIC on by its spurious vector register, then falls into the sleeper.
const SWITCH_ON: &[u8] = &[0xb8, 0xf0, 0x00, 0xe0, 0xfe, 0xc7, 0x00, 0xff, 0x01, 0x00, 0x00];
const VECTOR: u32 = 0x40;

/// An interrupt of either kind.
pub fn interrupts(api: &Arc<Api>) {
    let machine = Machine::new(api, 1, true, 0);
    let (gdt, idt, handler) = (0x4000u64, 0x5000u64, 0x2000u64);
    machine.write(CODE, &[SWITCH_ON, SLEEPER].concat());
    machine.write(handler, HANDLER);
    machine.write(gdt + 8, &0x00af_9b00_0000_ffffu64.to_le_bytes());
    machine.write(gdt + 16, &0x00cf_9300_0000_ffffu64.to_le_bytes());
    let gate = handler & 0xffff | 8 << 16 | 0x8e00 << 32 | (handler >> 16 & 0xffff) << 48;
    machine.write(idt + 16 * u64::from(VECTOR), &gate.to_le_bytes());
    machine.create_long_mode_vp(0, CODE);
    let table =
        |base, limit| WHV_REGISTER_VALUE { Table: WHV_X64_TABLE_REGISTER { Pad: [0; 3], Limit: limit, Base: base } };
    machine.set(0, &[(WHvX64RegisterGdtr, table(gdt, 23)), (WHvX64RegisterIdtr, table(idt, 0xfff))]);
    let emulator = Emulator::new(&machine, 0);
    for (level, name) in [(0u64, "edge"), (1, "level")] {
        let control = WHV_INTERRUPT_CONTROL { _bitfield: level << 12, Destination: 0, Vector: VECTOR };
        thread::scope(|scope| {
            scope.spawn(|| {
                // The guest sleeps by then, or gets it later.
                thread::sleep(Duration::from_millis(30));
                // SAFETY: as the page says.
                ok("interrupt", unsafe {
                    (machine.api.interrupt)(machine.handle, &control, size_of_val(&control) as u32)
                });
            });
            let exit = machine.run(0);
            assert_eq!(exit.ExitReason, WHvRunVpExitReasonX64IoPortAccess, "at {:#x}", exit.VpContext.Rip);
            emulator.emulate(&exit);
        });
        if level == 1 {
            let exit = machine.run(0);
            assert_eq!(exit.ExitReason, WHvRunVpExitReasonX64ApicEoi);
            // SAFETY: the reason says which context it is.
            assert_eq!(unsafe { exit.Anonymous.ApicEoi.InterruptVector }, VECTOR);
        }
        println!("interrupt: {name}");
    }
}

/// mov ecx, 0x5c5c5c5c; rdmsr; out 0x10, eax; wrmsr; hlt
const UNKNOWN: &[u8] = &[0xb9, 0x5c, 0x5c, 0x5c, 0x5c, 0x0f, 0x32, 0xe7, 0x10, 0x0f, 0x30, 0xf4];

/// RDMSR and WRMSR that come out.
pub fn unknown_msr(api: &Arc<Api>) {
    let machine = Machine::new(api, 1, false, MSR_EXIT);
    machine.write(CODE, UNKNOWN);
    machine.create_long_mode_vp(0, CODE);
    let emulator = Emulator::new(&machine, 0);
    for write in [0, 1] {
        let exit = machine.run(0);
        assert_eq!(exit.ExitReason, WHvRunVpExitReasonX64MsrAccess);
        // SAFETY: the reason says which context it is.
        let access = unsafe { exit.Anonymous.MsrAccess };
        // SAFETY: any bits are a number.
        assert_eq!((unsafe { access.AccessInfo.AsUINT32 }, access.MsrNumber), (write, 0x5c5c_5c5c));
        let next = exit.VpContext.Rip + u64::from(exit.VpContext._bitfield & 15);
        let number = |value| WHV_REGISTER_VALUE { Reg64: value };
        if write == 0 {
            let answer = [
                (WHvX64RegisterRax, number(0x1234)),
                (WHvX64RegisterRdx, number(0)),
                (WHvX64RegisterRip, number(next)),
            ];
            machine.set(0, &answer);
            emulator.emulate(&machine.run(0));
            assert_eq!(emulator.take_log(), ["out 0x10 size 4 = 0x1234"]);
        } else {
            assert_eq!(access.Rax, 0x1234);
            machine.set(0, &[(WHvX64RegisterRip, number(next))]);
        }
    }
    assert_eq!(machine.run(0).ExitReason, WHvRunVpExitReasonX64Halt);
    println!("msr: an unknown one read and written");
}
