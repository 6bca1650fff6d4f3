//! Which device answers at which address or port. Filled once before the vCPUs start, then shared by all of them without
//! a lock; each device locks itself. Unknown addresses read as all ones and swallow writes, as on hardware.

use std::sync::Arc;

use crate::hv::IoBus;

/// A device that is reached by loads and stores (or port accesses) of any width.
pub trait BusDevice: Send + Sync {
    /// Fills all of `data` with what the guest reads at `offset` from the device's base.
    fn read(&self, offset: u64, data: &mut [u8]);
    /// Takes what the guest writes at `offset`.
    fn write(&self, offset: u64, data: &[u8]);
}

struct Window {
    base: u64,
    size: u64,
    device: Arc<dyn BusDevice>,
}

/// The address map of one machine.
#[derive(Default)]
pub struct Bus {
    mmio: Vec<Window>,
    pio: Vec<Window>,
}

impl Bus {
    /// Adds a device to the memory map. Returns `false`, and adds nothing, if the window wraps or overlaps another.
    #[must_use]
    pub fn add_mmio(&mut self, base: u64, size: u64, device: Arc<dyn BusDevice>) -> bool {
        add(&mut self.mmio, Window { base, size, device })
    }

    /// Adds a device to the port map; like [`add_mmio`](Self::add_mmio).
    #[must_use]
    pub fn add_pio(&mut self, base: u16, size: u16, device: Arc<dyn BusDevice>) -> bool {
        add(&mut self.pio, Window { base: base.into(), size: size.into(), device })
    }
}

/// Keeps windows sorted by base, so that a look-up is a binary search.
fn add(windows: &mut Vec<Window>, new: Window) -> bool {
    let Some(end) = new.base.checked_add(new.size) else { return false };
    let at = windows.partition_point(|window| window.base < new.base);
    let free_after = windows.get(at).is_none_or(|next| end <= next.base);
    let free_before = at.checked_sub(1).is_none_or(|before| windows[before].base + windows[before].size <= new.base);
    if new.size == 0 || !free_after || !free_before {
        return false;
    }
    windows.insert(at, new);
    true
}

/// The device whose window holds the whole access, and the offset in it.
fn find(windows: &[Window], address: u64, len: usize) -> Option<(&dyn BusDevice, u64)> {
    let at = windows.partition_point(|window| window.base <= address).checked_sub(1)?;
    let window = &windows[at];
    let offset = address - window.base;
    let end = offset.checked_add(len as u64)?;
    (end <= window.size).then_some((&*window.device, offset))
}

fn read(windows: &[Window], address: u64, data: &mut [u8]) {
    match find(windows, address, data.len()) {
        Some((device, offset)) => device.read(offset, data),
        None => data.fill(0xff),
    }
}

fn write(windows: &[Window], address: u64, data: &[u8]) {
    if let Some((device, offset)) = find(windows, address, data.len()) {
        device.write(offset, data);
    }
}

impl IoBus for Bus {
    fn mmio_read(&self, address: u64, data: &mut [u8]) {
        read(&self.mmio, address, data);
    }

    fn mmio_write(&self, address: u64, data: &[u8]) {
        write(&self.mmio, address, data);
    }

    fn pio_read(&self, port: u16, data: &mut [u8]) {
        read(&self.pio, port.into(), data);
    }

    fn pio_write(&self, port: u16, data: &[u8]) {
        write(&self.pio, port.into(), data);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// Answers every byte with its offset and remembers writes.
    #[derive(Default)]
    struct Echo(Mutex<Vec<(u64, Vec<u8>)>>);

    impl BusDevice for Echo {
        fn read(&self, offset: u64, data: &mut [u8]) {
            for (byte, value) in data.iter_mut().zip(offset..) {
                *byte = value as u8;
            }
        }

        fn write(&self, offset: u64, data: &[u8]) {
            self.0.lock().expect("no test panics inside").push((offset, data.to_vec()));
        }
    }

    #[test]
    fn m5_unknown_addresses_read_all_ones_and_swallow_writes() {
        let echo = Arc::new(Echo::default());
        let mut bus = Bus::default();
        assert!(bus.add_mmio(0x1000, 0x10, echo.clone()) && bus.add_pio(0x60, 1, echo.clone()));
        let mut data = [0; 4];
        for address in [0, 0xffc, 0x1010, u64::MAX] {
            bus.mmio_read(address, &mut data);
            assert_eq!(data, [0xff; 4], "{address:#x}");
            bus.mmio_write(address, &data);
        }
        bus.pio_read(0x61, &mut data[..1]);
        bus.pio_write(0x61, &[1]);
        assert_eq!(data[0], 0xff);
        assert!(echo.0.lock().expect("unpoisoned").is_empty());
    }

    #[test]
    fn m1_an_access_across_the_end_of_a_window_reaches_nobody() {
        let echo = Arc::new(Echo::default());
        let mut bus = Bus::default();
        assert!(bus.add_mmio(0x1000, 0x10, echo.clone()));
        let mut data = [0; 8];
        bus.mmio_read(0x1008, &mut data);
        assert_eq!(data, [8, 9, 10, 11, 12, 13, 14, 15]);
        bus.mmio_read(0x1009, &mut data);
        assert_eq!(data, [0xff; 8]);
        bus.mmio_write(0x100f, &[1, 2]);
        assert!(echo.0.lock().expect("unpoisoned").is_empty());
    }

    #[test]
    fn windows_never_overlap() {
        let mut bus = Bus::default();
        let echo = || Arc::new(Echo::default());
        assert!(bus.add_mmio(0x1000, 0x1000, echo()));
        assert!(!bus.add_mmio(0x1fff, 1, echo()));
        assert!(!bus.add_mmio(0xfff, 2, echo()));
        assert!(!bus.add_mmio(u64::MAX, 2, echo()));
        assert!(bus.add_mmio(0xfff, 1, echo()) && bus.add_mmio(0x2000, 1, echo()));
    }
}
