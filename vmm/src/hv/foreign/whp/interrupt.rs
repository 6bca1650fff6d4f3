//! Interrupt messages as the platform takes them, and messages that start processors as it tells of them. Called by the
//! backend's `vm` and `vcpu`.

use crate::irq::Msi;

/// What `WHV_INTERRUPT_CONTROL` holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// Type in bits 0 to 7, destination mode in 8 to 11, trigger mode in 12 to 15.
    pub bits: u64,
    /// Local APIC ids, or the logical destination.
    pub destination: u32,
    /// The vector.
    pub vector: u32,
}

/// Delivery modes of a message and of the interrupt command register (SDM vol. 3 §11.6.1, §11.11.2).
const FIXED: u32 = 0;
const LOWEST_PRIORITY: u32 = 1;
const NMI: u32 = 4;
const INIT: u32 = 5;
const STARTUP: u32 = 6;

/// Reads a message (SDM vol. 3 §11.11). `None`: not to local APICs, or of a kind that comes from no device.
pub fn request(msi: Msi) -> Option<Request> {
    if msi.address >> 20 != 0xfee {
        return None;
    }
    let mode = msi.data >> 8 & 0b111;
    // The platform's numbers for types are the modes' own.
    if !matches!(mode, FIXED | LOWEST_PRIORITY | NMI) {
        return None;
    }
    let logical = msi.address >> 2 & 1;
    let level = u64::from(msi.data >> 15 & 1);
    Some(Request {
        bits: u64::from(mode) | logical << 8 | level << 12,
        destination: (msi.address >> 12 & 0xff) as u32,
        vector: msi.data & 0xff,
    })
}

/// What one processor tells another by its interrupt command register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Wait for a start.
    Init,
    /// Start in real mode at this page.
    Startup(u8),
}

/// Who is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audience {
    /// The processor with this APIC id.
    One(u32),
    /// The sender.
    Itself,
    /// All of them.
    All,
    /// All but the sender.
    Others,
}

impl Audience {
    /// Whether processor `index` is among them when `sender` speaks. APIC ids are indices.
    pub fn includes(self, index: u8, sender: u8) -> bool {
        match self {
            Self::One(id) => id == u32::from(index),
            Self::Itself => index == sender,
            Self::All => true,
            Self::Others => index != sender,
        }
    }
}

/// Reads an interrupt command (SDM vol. 3 §11.6.1). `None`: no start, or one by a logical destination, which no system uses.
pub fn order(command: u64) -> Option<(Order, Audience)> {
    let (level, edge) = (command >> 14 & 1 == 1, command >> 15 & 1 == 0);
    let order = match (command >> 8 & 0b111) as u32 {
        // The end of an INIT that is a level means nothing to any processor since the Pentium 4.
        INIT if level || edge => Order::Init,
        STARTUP => Order::Startup(command as u8),
        _ => return None,
    };
    let audience = match command >> 18 & 0b11 {
        0b00 if command >> 11 & 1 == 1 => return None,
        0b00 => Audience::One(destination((command >> 32) as u32)),
        0b01 => Audience::Itself,
        0b10 => Audience::All,
        _ => Audience::Others,
    };
    Some((order, audience))
}

/// In xAPIC mode the id is the register's highest byte, in x2APIC mode all of its upper half. Ids here are below 256, so that
/// both can be told apart.
fn destination(upper: u32) -> u32 {
    if upper > 0xff { upper >> 24 } else { upper }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_asked_for_as_it_was_programmed() {
        let request = |address, data| request(Msi { address, data });
        assert_eq!(request(0xfee0_3000, 0x31), Some(Request { bits: 0, destination: 3, vector: 0x31 }));
        assert_eq!(request(0xfee0_3004, 0x131), Some(Request { bits: 0x101, destination: 3, vector: 0x31 }));
        assert_eq!(request(0xfeef_f000, 0x8040), Some(Request { bits: 0x1000, destination: 0xff, vector: 0x40 }));
        assert_eq!(request(0xfee0_0000, 0x400), Some(Request { bits: 4, destination: 0, vector: 0 }));
        for (address, data) in [(0, 0x31), (0x1_fee0_0000, 0x31), (0xfee0_0000, 0x231), (0xfee0_0000, 0x631)] {
            assert_eq!(request(address, data), None, "{address:#x} {data:#x}");
        }
    }

    #[test]
    fn linux_starts_a_processor() {
        // APIC_INT_LEVELTRIG | APIC_INT_ASSERT | APIC_DM_INIT, the end of it, and APIC_DM_STARTUP with page 0x9a.
        let to = |id: u64, low: u64| order(id << 56 | low);
        assert_eq!(to(3, 0xc500), Some((Order::Init, Audience::One(3))));
        assert_eq!(to(3, 0x8500), None);
        assert_eq!(to(3, 0x069a), Some((Order::Startup(0x9a), Audience::One(3))));
        assert_eq!(order(3 << 32 | 0x069a), Some((Order::Startup(0x9a), Audience::One(3))), "x2APIC");
        assert_eq!(order(0x4500), Some((Order::Init, Audience::One(0))));
    }

    #[test]
    fn shorthands_tell_many_and_other_messages_nobody() {
        assert_eq!(order(0x000c_4500), Some((Order::Init, Audience::Others)));
        assert_eq!(order(0x0008_0610), Some((Order::Startup(0x10), Audience::All)));
        assert_eq!(order(0x0004_4500), Some((Order::Init, Audience::Itself)));
        assert_eq!(order(0x0000_4d00), None, "logical");
        assert_eq!(order(0x0000_40f0), None, "an ordinary vector");
        let told = |audience: Audience| (0..3).filter(|&index| audience.includes(index, 1)).collect::<Vec<_>>();
        assert_eq!(told(Audience::One(2)), [2]);
        assert_eq!(told(Audience::Itself), [1]);
        assert_eq!(told(Audience::All), [0, 1, 2]);
        assert_eq!(told(Audience::Others), [0, 2]);
        assert!(told(Audience::One(258)).is_empty());
    }
}
