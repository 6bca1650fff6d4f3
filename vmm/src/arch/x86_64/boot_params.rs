//! The zero page: what a boot loader tells Linux (Documentation/arch/x86/zero-page.rst and boot.rst). Field offsets are
//! those of `struct boot_params`. Also where the initial file system goes, and the checks of the command line.

use vm_memory::{Bytes, GuestAddress};

use super::layout;
use crate::arch::{BootError, BootPlan};
use crate::memory::GuestMemory;

/// One line of the memory map.
const E820_RAM: u32 = 1;
const E820_RESERVED: u32 = 2;
const E820_COUNT: usize = 0x1e8;
const E820_TABLE: usize = 0x2d0;
const BOOT_FLAG: usize = 0x1fe;
const HEADER: usize = 0x202;
const VERSION: usize = 0x206;
const LOADER_TYPE: usize = 0x210;
const LOAD_FLAGS: usize = 0x211;
const RAMDISK_IMAGE: usize = 0x218;
const RAMDISK_SIZE: usize = 0x21c;
const CMDLINE_POINTER: usize = 0x228;
const KERNEL_ALIGNMENT: usize = 0x230;
const CMDLINE_MAX: usize = 0x238;

/// Where the initial file system lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Initramfs {
    /// Guest address, page-aligned.
    pub address: u32,
    /// Bytes; 0 for none.
    pub size: u32,
}

/// Copies the initial file system to the top of the RAM below the gap, clear of the kernel that ends at `kernel_end`.
pub fn place_initramfs(
    memory: &GuestMemory,
    contents: &[u8],
    kernel_end: u64,
    ram_end: u64,
) -> Result<Initramfs, BootError> {
    if contents.is_empty() {
        return Ok(Initramfs { address: 0, size: 0 });
    }
    let full = || BootError::Initramfs { bytes: contents.len() };
    let size = u32::try_from(contents.len()).map_err(|_| full())?;
    let address = ram_end.checked_sub(size.into()).ok_or_else(full)? & !0xfff;
    if address < kernel_end {
        return Err(full());
    }
    memory.write_slice(contents, GuestAddress(address)).map_err(|_| full())?;
    let address = u32::try_from(address).map_err(|_| full())?;
    Ok(Initramfs { address, size })
}

/// Writes the command line with what this machine appends for its devices: `virtio_mmio.device=SIZE@ADDRESS:IRQ`.
pub fn place_cmdline(memory: &GuestMemory, plan: &BootPlan<'_>) -> Result<(), BootError> {
    let mut line = String::from(plan.cmdline);
    for index in 0..plan.devices {
        let slot = layout::slot(index).ok_or(BootError::Devices { wanted: plan.devices, slots: layout::SLOTS })?;
        line += &format!(" virtio_mmio.device={}K@{:#x}:{}", slot.size >> 10, slot.address, slot.irq);
    }
    if !line.bytes().all(|byte| (0x20..0x7f).contains(&byte)) {
        return Err(BootError::Cmdline("it holds a character that is not printable ASCII"));
    }
    if line.len() >= layout::CMDLINE_SIZE {
        return Err(BootError::Cmdline("it is longer than the 2047 bytes that Linux takes"));
    }
    line.push('\0');
    memory.write_slice(line.as_bytes(), GuestAddress(layout::CMDLINE)).map_err(|_| BootError::Memory)
}

/// Writes the zero page.
pub fn place_zero_page(memory: &GuestMemory, initramfs: Initramfs, ram: &[(u64, u64)]) -> Result<(), BootError> {
    let mut page = [0u8; 4096];
    let mut put = |at: usize, bytes: &[u8]| page[at..at + bytes.len()].copy_from_slice(bytes);
    put(BOOT_FLAG, &0xaa55u16.to_le_bytes());
    put(HEADER, b"HdrS");
    // Protocol 2.15, a loader without a number of its own, loaded high.
    put(VERSION, &0x020fu16.to_le_bytes());
    put(LOADER_TYPE, &[0xff]);
    put(LOAD_FLAGS, &[1]);
    put(RAMDISK_IMAGE, &initramfs.address.to_le_bytes());
    put(RAMDISK_SIZE, &initramfs.size.to_le_bytes());
    put(CMDLINE_POINTER, &(layout::CMDLINE as u32).to_le_bytes());
    put(KERNEL_ALIGNMENT, &0x0100_0000u32.to_le_bytes());
    put(CMDLINE_MAX, &(layout::CMDLINE_SIZE as u32 - 1).to_le_bytes());
    let map = memory_map(ram);
    put(E820_COUNT, &[map.len() as u8]);
    for (index, (base, size, kind)) in map.into_iter().enumerate() {
        let at = E820_TABLE + index * 20;
        put(at, &base.to_le_bytes());
        put(at + 8, &size.to_le_bytes());
        put(at + 16, &kind.to_le_bytes());
    }
    memory.write_slice(&page, GuestAddress(layout::ZERO_PAGE)).map_err(|_| BootError::Memory)
}

/// RAM without the hole below 1 MiB; the MP table's room is reserved.
fn memory_map(ram: &[(u64, u64)]) -> Vec<(u64, u64, u32)> {
    let mut map = vec![
        (0, layout::MP_TABLE, E820_RAM),
        (layout::MP_TABLE, layout::LOW_MEMORY_END - layout::MP_TABLE, E820_RESERVED),
    ];
    for &(base, size) in ram {
        let start = base.max(layout::HIGH_MEMORY);
        map.push((start, base + size - start, E820_RAM));
    }
    map
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::anonymous;

    const RAM: u64 = 4 << 20;

    fn plan(cmdline: &str, devices: usize) -> BootPlan<'_> {
        BootPlan { cpus: 1, kernel: &[], initramfs: &[], cmdline, devices }
    }

    fn written_cmdline(memory: &GuestMemory) -> Vec<u8> {
        let mut bytes = vec![0; layout::CMDLINE_SIZE];
        memory.read_slice(&mut bytes, GuestAddress(layout::CMDLINE)).expect("in RAM");
        bytes.truncate(bytes.iter().position(|&byte| byte == 0).expect("terminated"));
        bytes
    }

    #[test]
    fn devices_are_appended_to_the_command_line() {
        let memory = anonymous(&[(0, RAM)]).expect("4 MiB");
        place_cmdline(&memory, &plan("quiet", 2)).expect("fits");
        let expected = b"quiet virtio_mmio.device=4K@0xd0000000:1 virtio_mmio.device=4K@0xd0001000:2";
        assert_eq!(written_cmdline(&memory), expected);
    }

    #[test]
    fn m10_command_lines_up_to_the_limit_pass_and_one_more_is_refused() {
        let memory = anonymous(&[(0, RAM)]).expect("4 MiB");
        place_cmdline(&memory, &plan("", 0)).expect("an empty line is fine");
        let most = "x".repeat(layout::CMDLINE_SIZE - 1);
        place_cmdline(&memory, &plan(&most, 0)).expect("2047 bytes fit");
        assert_eq!(written_cmdline(&memory), most.as_bytes());
        let error = place_cmdline(&memory, &plan(&(most + "x"), 0)).expect_err("2048 bytes do not");
        assert!(error.to_string().contains("longer"), "{error}");
    }

    #[test]
    fn m10_nul_control_and_non_ascii_are_refused() {
        let memory = anonymous(&[(0, RAM)]).expect("4 MiB");
        for line in ["a\0b", "a\nb", "caf\u{e9}", "\u{7f}"] {
            assert!(matches!(place_cmdline(&memory, &plan(line, 0)), Err(BootError::Cmdline(_))), "{line:?}");
        }
    }

    #[test]
    fn more_devices_than_slots_are_refused() {
        let memory = anonymous(&[(0, RAM)]).expect("4 MiB");
        let wanted = layout::SLOTS + 1;
        let expected = BootError::Devices { wanted, slots: layout::SLOTS };
        assert_eq!(place_cmdline(&memory, &plan("", wanted)), Err(expected));
    }

    #[test]
    fn m9_the_initial_file_system_goes_to_the_top_or_is_refused() {
        let memory = anonymous(&[(0, RAM)]).expect("4 MiB");
        let place = |bytes: usize, kernel_end| place_initramfs(&memory, &vec![7; bytes], kernel_end, RAM);
        assert_eq!(place(0, RAM), Ok(Initramfs { address: 0, size: 0 }));
        assert_eq!(place(5, 0x10_0000), Ok(Initramfs { address: RAM as u32 - 0x1000, size: 5 }));
        assert_eq!(memory.read_obj::<u8>(GuestAddress(RAM - 0x1000)).expect("in RAM"), 7);
        let error = BootError::Initramfs { bytes: RAM as usize + 1 };
        assert_eq!(place(RAM as usize + 1, 0x10_0000), Err(error));
        assert_eq!(place(5, RAM - 0xfff), Err(BootError::Initramfs { bytes: 5 }));
    }

    #[test]
    fn the_memory_map_is_all_of_ram_and_never_the_hole() {
        let ram = layout::ram_ranges(4 << 30);
        let map = memory_map(&ram);
        assert!(map.windows(2).all(|pair| pair[0].0 + pair[0].1 <= pair[1].0), "{map:x?}");
        assert!(
            map.iter().all(|&(base, size, _)| base + size <= layout::LOW_MEMORY_END || base >= layout::HIGH_MEMORY)
        );
        let total: u64 = map.iter().map(|line| line.1).sum();
        assert_eq!(total, (4 << 30) - (layout::HIGH_MEMORY - layout::LOW_MEMORY_END));
    }

    #[test]
    fn the_zero_page_names_the_protocol_and_its_parts() {
        let memory = anonymous(&[(0, RAM)]).expect("4 MiB");
        place_zero_page(&memory, Initramfs { address: 0x1234_5000, size: 77 }, &[(0, RAM)]).expect("fits");
        let long = |at| memory.read_obj::<u32>(GuestAddress(layout::ZERO_PAGE + at)).expect("in RAM");
        assert_eq!(long(0x202), u32::from_le_bytes(*b"HdrS"));
        assert_eq!((long(0x218), long(0x21c)), (0x1234_5000, 77));
        assert_eq!(long(0x228), layout::CMDLINE as u32);
        assert_eq!(memory.read_obj::<u8>(GuestAddress(layout::ZERO_PAGE + 0x1e8)).expect("in RAM"), 3);
    }
}
