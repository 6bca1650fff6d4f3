//! From what KVM says to WHP's exit contexts. Contract: the page "WHvRunVirtualProcessor" and those it links for each
//! context (WHV_VP_EXIT_CONTEXT, memory access, I/O port access, MSR access). Used by `run`.

use std::collections::VecDeque;

use windows_sys::Win32::System::Hypervisor::*;

use crate::access::{Access, DETAILS, Pending, collect};
use crate::decode::{self, Mode};
use crate::kvm::{self, Regs, Sregs, ask};
use crate::partition::Partition;
use crate::result::Result;
use crate::script::script;
use crate::segment;
use crate::translate;
use crate::vp::Vp;

/// An empty exit context with the processor's state.
pub fn context(reason: i32, regs: &Regs, sregs: &Sregs, length: usize) -> WHV_RUN_VP_EXIT_CONTEXT {
    // SAFETY: all of it is plain numbers, for which zeros are fine.
    let mut context: WHV_RUN_VP_EXIT_CONTEXT = unsafe { std::mem::zeroed() };
    let bit = |value: u64, from: u32, to: u32| ((value >> from & 1) as u16) << to;
    let state = u16::from(sregs.ss.dpl & 3) | bit(sregs.cr0, 0, 2) | bit(sregs.cr0, 18, 3) | bit(sregs.efer, 10, 4);
    context.ExitReason = reason;
    context.VpContext = WHV_VP_EXIT_CONTEXT {
        ExecutionState: WHV_X64_VP_EXECUTION_STATE { AsUINT16: state },
        _bitfield: (length as u8 & 15) | (sregs.cr8 as u8) << 4,
        Reserved: 0,
        Reserved2: 0,
        Cs: segment::to_whv(&sregs.cs),
        Rip: regs.rip,
        Rflags: regs.rflags,
    };
    context
}

/// General and special registers as KVM has them.
pub fn registers(vp: &Vp) -> Result<(Regs, Sregs)> {
    // SAFETY: the structure is the request's.
    let regs = unsafe { kvm::get(&vp.fd, ask::GET_REGS) }?;
    // SAFETY: the structure is the request's.
    Ok((regs, unsafe { kvm::get(&vp.fd, ask::GET_SREGS) }?))
}

fn mode(sregs: &Sregs) -> Mode {
    let long = sregs.efer >> 10 & 1 == 1 && sregs.cs.l == 1;
    let all = [sregs.es, sregs.cs, sregs.ss, sregs.ds, sregs.fs, sregs.gs];
    let mut bases = all.map(|segment| segment.base);
    if long {
        bases[..4].fill(0);
    }
    Mode {
        bits: if long {
            64
        } else if sregs.cs.db == 1 {
            32
        } else {
            16
        },
        bases,
    }
}

/// The instruction of an access exit, put back to before it.
pub fn access(partition: &Partition, vp: &Vp) -> Result<Pending> {
    let (at_exit, _) = registers(vp)?;
    let mut accesses = VecDeque::new();
    let open = collect(vp, &mut accesses)?;
    let (mut before, sregs) = registers(vp)?;
    let mode = mode(&sregs);
    let first = accesses[0];
    let code = |rip: u64| mode.bases[1].wrapping_add(rip);
    let mut length = None;
    if first.write {
        let mut bytes = [0; 15];
        // From the longest that all of them can be read, since an instruction may follow a page that is not there.
        let readable = (1..=15usize).rev().find(|&count| {
            let tail = &mut bytes[15 - count..];
            translate::copy(partition, vp, code(before.rip.wrapping_sub(count as u64)), tail) == count
        });
        let bytes = &bytes[15 - readable.unwrap_or(0)..];
        length = if first.port {
            decode::out_before(bytes, &before, mode, first.address as u16, first.size)
        } else {
            let wanted = (first.address, first.size, u64::from_le_bytes(first.data));
            let linear = |linear| translate::linear(vp, linear).ok().flatten();
            decode::store_before(bytes, &before, mode, wanted, linear)
        };
        before.rip = before.rip.wrapping_sub(length.unwrap_or(0) as u64);
    } else {
        before = at_exit;
    }
    let mut bytes = [0; 16];
    let known = !first.write || length.is_some();
    let mut count = if known { translate::copy(partition, vp, code(before.rip), &mut bytes) } else { 0 };
    if first.port && !first.write {
        length = decode::port_length(&bytes[..count], mode);
    }
    if script().no_bytes {
        (bytes, count) = ([0; 16], 0);
    }
    let exit = if first.port {
        port_exit(&before, &sregs, &accesses, length, (bytes, count))
    } else {
        memory_exit(&before, &sregs, first, (bytes, count))
    };
    Ok(Pending { exit, before, accesses, open })
}

fn memory_exit(
    regs: &Regs,
    sregs: &Sregs,
    access: Access,
    (bytes, count): ([u8; 16], usize),
) -> WHV_RUN_VP_EXIT_CONTEXT {
    let mut exit = context(WHvRunVpExitReasonMemoryAccess, regs, sregs, 0);
    const UNMAPPED: u32 = 1 << 2;
    exit.Anonymous.MemoryAccess = WHV_MEMORY_ACCESS_CONTEXT {
        InstructionByteCount: count as u8,
        Reserved: [0; 3],
        InstructionBytes: bytes,
        AccessInfo: WHV_MEMORY_ACCESS_INFO { AsUINT32: u32::from(access.write) | UNMAPPED },
        Gpa: access.address,
        Gva: 0,
    };
    exit
}

fn port_exit(
    regs: &Regs,
    sregs: &Sregs,
    accesses: &VecDeque<Access>,
    length: Option<usize>,
    (bytes, count): ([u8; 16], usize),
) -> WHV_RUN_VP_EXIT_CONTEXT {
    let first = accesses[0];
    let mut exit = context(WHvRunVpExitReasonX64IoPortAccess, regs, sregs, length.unwrap_or(0));
    // What is neither IN nor OUT is INS or OUTS.
    let string = u32::from(length.is_none());
    let repeated = u32::from(accesses.len() > 1);
    let info = u32::from(first.write) | u32::from(first.size) << 1 | string << 4 | repeated << 5;
    exit.Anonymous.IoPortAccess = WHV_X64_IO_PORT_ACCESS_CONTEXT {
        InstructionByteCount: count as u8,
        Reserved: [0; 3],
        InstructionBytes: bytes,
        AccessInfo: WHV_X64_IO_PORT_ACCESS_INFO { AsUINT32: info },
        PortNumber: first.address as u16,
        Reserved2: [0; 3],
        Rax: regs.general[0],
        Rcx: regs.general[2],
        Rsi: regs.general[4],
        Rdi: regs.general[5],
        Ds: segment::to_whv(&sregs.ds),
        Es: segment::to_whv(&sregs.es),
    };
    exit
}

/// RDMSR or WRMSR of a register that KVM does not know.
pub fn msr(vp: &Vp, write: bool) -> Result<Pending> {
    const LENGTH: usize = 2;
    let (before, sregs) = registers(vp)?;
    let mut exit = context(WHvRunVpExitReasonX64MsrAccess, &before, &sregs, LENGTH);
    // error, pad, reason, index, data.
    exit.Anonymous.MsrAccess = WHV_X64_MSR_ACCESS_CONTEXT {
        AccessInfo: WHV_X64_MSR_ACCESS_INFO { AsUINT32: write.into() },
        MsrNumber: vp.page.read(DETAILS + 12),
        Rax: before.general[0],
        Rdx: before.general[3],
    };
    Ok(Pending { exit, before, accesses: VecDeque::new(), open: true })
}
