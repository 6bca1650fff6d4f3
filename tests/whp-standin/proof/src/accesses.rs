//! A long-mode stub that makes all kinds of device accesses and halts, served by the emulator alone, and by hand from the
//! instruction bytes where those are plain. Both must see the same accesses and leave the same registers.

use std::sync::Arc;

use windows_sys::Win32::System::Hypervisor::*;

use crate::emulator::Emulator;
use crate::machine::{CODE, Machine};
use crate::sys::Api;

const STUB: &[u8] = &[
    0xbf, 0x00, 0x00, 0x00, 0x10, // mov edi, 0x10000000
    0xc7, 0x07, 0x78, 0x56, 0x34, 0x12, // mov dword [rdi], 0x12345678
    0x8b, 0x1f, // mov ebx, [rdi]
    0x48, 0x89, 0x5f, 0x08, // mov [rdi+8], rbx
    0x0f, 0xb6, 0x4f, 0x02, // movzx ecx, byte [rdi+2]
    0x83, 0x47, 0x04, 0x01, // add dword [rdi+4], 1
    0xb0, 0x41, 0xe6, 0x10, // mov al, 0x41; out 0x10, al
    0xe6, 0x10, // out 0x10, al
    0x66, 0xba, 0xf8, 0x03, 0xec, // mov dx, 0x3f8; in al, dx
    0x66, 0xef, // out dx, ax
    0xf4, // hlt
];

const EXPECTED: &[&str] = &[
    "write 0x10000000 = [78, 56, 34, 12]",
    "read 0x10000000 size 4",
    "write 0x10000008 = [5a, 5a, 5a, 5a, 0, 0, 0, 0]",
    "read 0x10000002 size 1",
    "read 0x10000004 size 4",
    "write 0x10000004 = [5b, 5a, 5a, 5a]",
    "out 0x10 size 1 = 0x41",
    "out 0x10 size 1 = 0x41",
    "in 0x3f8 size 1",
    "out 0x3f8 size 2 = 0x5a",
];

/// Runs the stub; `by_hand`: what can be decoded is, and the emulator does the rest.
pub fn run(api: &Arc<Api>, by_hand: bool) {
    let machine = Machine::new(api, 1, false, 0);
    machine.write(CODE, STUB);
    machine.create_long_mode_vp(0, CODE);
    let emulator = Emulator::new(&machine, 0);
    let mut decoded = 0;
    loop {
        let exit = machine.run(0);
        match exit.ExitReason {
            WHvRunVpExitReasonX64Halt => break,
            WHvRunVpExitReasonMemoryAccess | WHvRunVpExitReasonX64IoPortAccess => {
                // Nothing was done about it yet, so it must come again.
                let again = machine.run(0);
                assert_eq!((exit.ExitReason, exit.VpContext.Rip), (again.ExitReason, again.VpContext.Rip));
                if by_hand && serve(&machine, &emulator, &exit) {
                    decoded += 1;
                } else {
                    emulator.emulate(&exit);
                }
            }
            reason => panic!("exit {reason:#x} at {:#x}", exit.VpContext.Rip),
        }
    }
    let log = emulator.take_log();
    assert_eq!(log, EXPECTED);
    let registers = [WHvX64RegisterRax, WHvX64RegisterRbx, WHvX64RegisterRcx, WHvX64RegisterRip];
    let values = registers.map(|name| machine.get(0, name));
    assert_eq!(values, [0x5a, 0x5a5a_5a5a, 0x5a, CODE + STUB.len() as u64]);
    println!("accesses: {} served, {decoded} of them decoded from instruction bytes", log.len());
}

/// Serves an access as a backend's own decoder would: from the bytes, by setting registers and RIP.
fn serve(machine: &Machine, emulator: &Emulator, exit: &WHV_RUN_VP_EXIT_CONTEXT) -> bool {
    if exit.ExitReason == WHvRunVpExitReasonX64IoPortAccess {
        // SAFETY: the reason says which context it is.
        let access = unsafe { exit.Anonymous.IoPortAccess };
        return port(machine, emulator, exit, &access);
    }
    // SAFETY: as above.
    let access = unsafe { exit.Anonymous.MemoryAccess };
    let (count, gpa) = (access.InstructionByteCount, access.Gpa);
    let mut next = exit.VpContext.Rip;
    let mut changes = Vec::new();
    let number = |value| WHV_REGISTER_VALUE { Reg64: value };
    match &access.InstructionBytes[..count.into()] {
        [0xc7, 0x07, immediate @ ..] => {
            emulator.note(format!("write {gpa:#x} = {:x?}", &immediate[..4]));
            next += 6;
        }
        [0x8b, 0x1f, ..] => {
            emulator.note(format!("read {gpa:#x} size 4"));
            changes.push((WHvX64RegisterRbx, number(0x5a5a_5a5a)));
            next += 2;
        }
        [0x48, 0x89, 0x5f, 0x08, ..] => {
            let value = machine.get(0, WHvX64RegisterRbx).to_le_bytes();
            emulator.note(format!("write {gpa:#x} = {value:x?}"));
            next += 4;
        }
        [0x0f, 0xb6, 0x4f, 0x02, ..] => {
            emulator.note(format!("read {gpa:#x} size 1"));
            changes.push((WHvX64RegisterRcx, number(0x5a)));
            next += 4;
        }
        _ => return false,
    }
    changes.push((WHvX64RegisterRip, number(next)));
    machine.set(0, &changes);
    true
}

/// IN and OUT need no bytes: the context has the length.
fn port(
    machine: &Machine,
    emulator: &Emulator,
    exit: &WHV_RUN_VP_EXIT_CONTEXT,
    access: &WHV_X64_IO_PORT_ACCESS_CONTEXT,
) -> bool {
    // SAFETY: any bits are a number.
    let info = unsafe { access.AccessInfo.AsUINT32 };
    let (write, size, port) = (info & 1 == 1, info >> 1 & 7, access.PortNumber);
    assert_eq!(info >> 4, 0, "no string instruction");
    let mask = u64::MAX >> (64 - 8 * size);
    let mut rax = access.Rax;
    if write {
        emulator.note(format!("out {port:#x} size {size} = {:#x}", rax & mask));
    } else {
        emulator.note(format!("in {port:#x} size {size}"));
        rax = rax & !mask | 0x5a5a_5a5a & mask;
    }
    let next = exit.VpContext.Rip + u64::from(exit.VpContext._bitfield & 15);
    let number = |value| WHV_REGISTER_VALUE { Reg64: value };
    machine.set(0, &[(WHvX64RegisterRax, number(rax)), (WHvX64RegisterRip, number(next))]);
    true
}
