//! Interrupts into the local APICs, as messages. Contract: WHvRequestInterrupt, and the exit WHV_X64_APIC_EOI_CONTEXT at the
//! end of level-triggered ones. Used by `exports`.
//!
//! With a split irqchip KVM tells the end of those vectors only that its routing table has on an IOAPIC pin, triggered by
//! level; so each vector that is requested so gets a pin here, the oldest losing its own when there are no more.

use windows_sys::Win32::Foundation::E_INVALIDARG;
use windows_sys::Win32::System::Hypervisor::*;

use crate::kvm::ask;
use crate::partition::{PINS, Partition, lock};
use crate::result::{Hr, INVALID, Result};

/// `struct kvm_msi`.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Msi {
    address: u32,
    address_high: u32,
    data: u32,
    flags: u32,
    device: u32,
    pad: [u8; 12],
}

/// `struct kvm_irq_routing_entry` of a message.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
struct Entry {
    pin: u32,
    kind: u32,
    flags: u32,
    pad: u32,
    address: u32,
    address_high: u32,
    data: u32,
    device: u32,
    rest: [u32; 4],
}

/// `struct kvm_irq_routing`.
#[repr(C)]
struct Table {
    count: u32,
    flags: u32,
    entries: [Entry; PINS],
}

const LEVEL: u32 = 1 << 15;

/// The level-triggered messages that have a pin.
#[derive(Debug, Default)]
pub struct Routes {
    messages: Vec<(u32, u32, u32)>,
    oldest: usize,
}

impl Routes {
    /// Gives a message a pin; whether the table has changed.
    fn add(&mut self, message: Msi) -> bool {
        let wanted = (message.address, message.address_high, message.data);
        if self.messages.contains(&wanted) {
            return false;
        }
        if self.messages.len() < PINS {
            self.messages.push(wanted);
        } else {
            self.messages[self.oldest] = wanted;
            self.oldest = (self.oldest + 1) % PINS;
        }
        true
    }

    fn table(&self) -> Table {
        const MESSAGE: u32 = 2;
        let mut entries = [Entry::default(); PINS];
        for (pin, (entry, &(address, address_high, data))) in (0..).zip(entries.iter_mut().zip(&self.messages)) {
            *entry = Entry { pin, kind: MESSAGE, address, address_high, data, ..Entry::default() };
        }
        Table { count: self.messages.len() as u32, flags: 0, entries }
    }
}

fn message(control: &WHV_INTERRUPT_CONTROL) -> Result<Msi> {
    let field = |at: u32, mask: u64| (control._bitfield >> at & mask) as i32;
    let (kind, mode, trigger) = (field(0, 0xff), field(8, 15), field(12, 15));
    #[expect(non_upper_case_globals, reason = "Windows' names")]
    let delivery = match kind {
        WHvX64InterruptTypeFixed | WHvX64InterruptTypeLowestPriority => kind as u32,
        WHvX64InterruptTypeNmi | WHvX64InterruptTypeInit | WHvX64InterruptTypeSipi => kind as u32,
        _ => return Err(Hr(E_INVALIDARG)),
    };
    let vectored = kind == WHvX64InterruptTypeFixed || kind == WHvX64InterruptTypeLowestPriority;
    if control.Vector > 0xff || vectored && control.Vector < 16 {
        return Err(INVALID);
    }
    let hint = u32::from(kind == WHvX64InterruptTypeLowestPriority);
    let logical = u32::from(mode == WHvX64InterruptDestinationModeLogical);
    let level = if trigger == WHvX64InterruptTriggerModeLevel { LEVEL | 1 << 14 } else { 0 };
    Ok(Msi {
        address: 0xfee0_0000 | (control.Destination & 0xff) << 12 | hint << 3 | logical << 2,
        address_high: control.Destination & !0xff,
        data: control.Vector | delivery << 8 | level,
        flags: 0,
        device: 0,
        pad: [0; 12],
    })
}

/// Requests an interrupt.
pub fn request(partition: &Partition, control: &WHV_INTERRUPT_CONTROL) -> Result<()> {
    if !partition.ready()?.apic {
        return Err(INVALID);
    }
    let mut message = message(control)?;
    if message.data & LEVEL != 0 {
        let mut routes = lock(&partition.routes);
        if routes.add(message) {
            let mut table = routes.table();
            // SAFETY: the structure is the request's, with as many entries as it says.
            unsafe { partition.vm.exchange(ask::SET_GSI_ROUTING, &mut table) }?;
        }
    }
    // A message that no local APIC takes is lost, as on the bus.
    // SAFETY: the structure is the request's.
    unsafe { partition.vm.exchange(ask::SIGNAL_MSI, &mut message) }?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn control(bits: u64, destination: u32, vector: u32) -> WHV_INTERRUPT_CONTROL {
        WHV_INTERRUPT_CONTROL { _bitfield: bits, Destination: destination, Vector: vector }
    }

    #[test]
    fn messages_are_those_of_the_bus() {
        let edge = message(&control(0, 2, 0x31)).unwrap();
        assert_eq!((edge.address, edge.address_high, edge.data), (0xfee0_2000, 0, 0x31));
        let level = message(&control(1 << 12 | 1 << 8 | 1, 0xff, 0x40)).unwrap();
        assert_eq!((level.address, level.data), (0xfeef_f00c, 0xc140));
        let startup = message(&control(6, 1, 0x9)).unwrap();
        assert_eq!((startup.address, startup.data), (0xfee0_1000, 0x609));
        assert_eq!(message(&control(0, 0, 3)), Err(INVALID));
        assert_eq!(message(&control(9, 0, 0x30)), Err(INVALID));
    }

    #[test]
    fn level_messages_share_the_pins() {
        let mut routes = Routes::default();
        let level = |vector| message(&control(1 << 12, 0, vector)).unwrap();
        assert!(routes.add(level(0x20)) && !routes.add(level(0x20)));
        (0x21..0x20 + PINS as u32).for_each(|vector| assert!(routes.add(level(vector))));
        assert!(routes.add(level(0x60)));
        assert_eq!((routes.table().count, routes.table().entries[0].data & 0xff), (PINS as u32, 0x60));
    }
}
