//! The instruction that an exit stopped in. WHP stops before it and leaves all of it to the VMM; KVM has decoded it, may have
//! finished it already (stores, OUT), and otherwise waits to be told what a load or IN read. This file keeps both views:
//! the registers as they were before the instruction, and the accesses that KVM made of it.
//!
//! ```text
//! exit -> pending --emulator takes each access, answers loads--> KVM's registers count, nothing pending
//!             `-----registers are set: KVM's result is dropped-> registers before + what was set, nothing pending
//!             `-----run again: the same exit
//! ```
//!
//! KVM finishes what it waits for at the next `KVM_RUN`, even if that is told to come back at once. Used by `run`,
//! `registers` and the emulator's DLL.

use std::collections::VecDeque;

use windows_sys::Win32::System::Hypervisor::WHV_RUN_VP_EXIT_CONTEXT;

use crate::kvm::{Regs, ask};
use crate::linux::Errno;
use crate::result::Result;
use crate::vp::Vp;

/// Where KVM's page has the exit's reason and its details.
pub const REASON: usize = 8;
/// See [`REASON`].
pub const DETAILS: usize = 32;
/// `KVM_EXIT_IO`.
pub const EXIT_IO: u32 = 2;
/// `KVM_EXIT_MMIO`.
pub const EXIT_MMIO: u32 = 6;

/// One access of an instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Access {
    /// A port, else guest-physical memory.
    pub port: bool,
    /// Port or address.
    pub address: u64,
    /// Bytes, 1 to 8.
    pub size: u8,
    /// The guest writes.
    pub write: bool,
    /// What it writes.
    pub data: [u8; 8],
    /// Where KVM's page takes what it reads.
    answer: usize,
}

/// What is left of the instruction.
pub struct Pending {
    /// What the VMM was told; told again if it does nothing about it.
    pub exit: WHV_RUN_VP_EXIT_CONTEXT,
    /// Registers before the instruction.
    pub before: Regs,
    /// Accesses that the emulator has not served yet.
    pub accesses: VecDeque<Access>,
    /// KVM waits to be told what was read.
    pub open: bool,
}

/// All accesses up to the first that KVM waits for. Stores are finished at once, so that KVM waits for none of them.
pub fn collect(vp: &Vp, accesses: &mut VecDeque<Access>) -> Result<bool> {
    loop {
        let first = accesses.len();
        match vp.page.read::<u32>(REASON) {
            EXIT_IO => ports(vp, accesses),
            _ => accesses.push_back(memory(vp)),
        }
        if !accesses[first].write {
            return Ok(true);
        }
        if !finish(vp)? {
            return Ok(false);
        }
    }
}

/// Lets KVM finish what it waits for without running on; whether the same instruction wants another access.
pub fn finish(vp: &Vp) -> Result<bool> {
    vp.page.set_immediate_exit(true);
    let result = vp.fd.control(ask::RUN, 0);
    vp.page.set_immediate_exit(false);
    match result {
        Ok(_) => Ok(matches!(vp.page.read::<u32>(REASON), EXIT_IO | EXIT_MMIO)),
        Err(Errno::EINTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn memory(vp: &Vp) -> Access {
    // phys_addr, data[8], len, is_write.
    Access {
        port: false,
        address: vp.page.read(DETAILS),
        size: vp.page.read::<u32>(DETAILS + 16).clamp(1, 8) as u8,
        write: vp.page.read::<u8>(DETAILS + 20) != 0,
        data: vp.page.read(DETAILS + 8),
        answer: DETAILS + 8,
    }
}

fn ports(vp: &Vp, accesses: &mut VecDeque<Access>) {
    // direction, size, port, count, data_offset: a string instruction comes as many at once.
    let write = vp.page.read::<u8>(DETAILS) != 0;
    let size = vp.page.read::<u8>(DETAILS + 1).clamp(1, 4);
    let address = vp.page.read::<u16>(DETAILS + 2).into();
    let (count, offset) = (vp.page.read::<u32>(DETAILS + 4), vp.page.read::<u64>(DETAILS + 8) as usize);
    for item in 0..count.max(1) as usize {
        let answer = offset + item * usize::from(size);
        let mut data = [0; 8];
        for (byte, at) in data.iter_mut().zip(answer..).take(size.into()) {
            *byte = vp.page.read(at);
        }
        accesses.push_back(Access { port: true, address, size, write, data, answer });
    }
}

impl Pending {
    /// The emulator has served the first access; `data` is what was read. True if that was the last of the instruction.
    pub fn served(&mut self, vp: &Vp, data: &[u8; 8]) -> Result<bool> {
        let Some(access) = self.accesses.pop_front() else { return Ok(true) };
        if !access.write {
            vp.page.write(access.answer, &data[..access.size.into()]);
            if self.accesses.is_empty() && self.open {
                self.open = finish(vp)? && collect(vp, &mut self.accesses)?;
            }
        }
        Ok(self.accesses.is_empty() && !self.open)
    }

    /// The VMM has done the instruction's work itself: lets KVM finish it with whatever result, drops that, and puts the
    /// registers back to what they were before.
    pub fn discard(mut self, vp: &Vp) -> Result<()> {
        while self.open {
            self.accesses.clear();
            self.open = finish(vp)? && collect(vp, &mut self.accesses)?;
        }
        // SAFETY: the structure is the request's.
        unsafe { vp.fd.exchange(ask::SET_REGS, &mut self.before) }?;
        Ok(())
    }
}
