//! The IOAPIC (Intel 82093AA): pins, each with a redirection entry that the guest programs, turned into messages to the
//! local APICs. Ours on every hypervisor, so that every boot tests it. Edges only: all our devices are edge-triggered and
//! acknowledge in their own registers, so no end-of-interrupt has to come back here.
//!
//! ```text
//!   pulse(pin): unmasked ─► message           masked ─► remembered, sent when the guest unmasks the pin
//! ```

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::bus::BusDevice;
use crate::irq::{IrqLine, Msi, MsiSink};

/// Selects the register that the window shows.
const IOREGSEL: u64 = 0x00;
/// Shows the selected register.
const IOWIN: u64 = 0x10;
const REG_ID: u8 = 0x00;
const REG_VERSION: u8 = 0x01;
const REG_ARBITRATION: u8 = 0x02;
const REG_TABLE: u8 = 0x10;

/// Redirection entry fields (82093AA §3.2.4).
const VECTOR: u64 = 0xff;
const DELIVERY_MODE: u64 = 0x700;
const LOGICAL_DESTINATION: u64 = 1 << 11;
const REMOTE_IRR: u64 = 1 << 14;
const DELIVERY_STATUS: u64 = 1 << 12;
const MASKED: u64 = 1 << 16;
const READ_ONLY: u64 = DELIVERY_STATUS | REMOTE_IRR;

/// The chip. Register accesses come from vCPU threads, pulses from anywhere.
pub struct IoApic {
    state: Mutex<State>,
    sink: Arc<dyn MsiSink>,
}

#[derive(Clone, Copy)]
struct Entry {
    bits: u64,
    /// An edge came while the pin was masked.
    pending: bool,
}

struct State {
    id: u32,
    select: u8,
    pins: Vec<Entry>,
}

impl IoApic {
    /// A chip of `pins` pins (at least 1) as after reset: all of them masked.
    pub fn new(sink: Arc<dyn MsiSink>, pins: u8) -> Self {
        let entry = Entry { bits: MASKED, pending: false };
        let state = State { id: 0, select: 0, pins: vec![entry; usize::from(pins.max(1))] };
        Self { state: Mutex::new(state), sink }
    }

    /// One edge on `pin`; pins that do not exist are ignored.
    pub fn pulse(&self, pin: u8) {
        let message = self.lock().edge(pin);
        if let Some(msi) = message {
            self.sink.signal(msi);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change of State is a single assignment, so it is whole even after a panic elsewhere.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn edge(&mut self, pin: u8) -> Option<Msi> {
        let entry = self.pins.get_mut(usize::from(pin))?;
        if entry.bits & MASKED != 0 {
            entry.pending = true;
            return None;
        }
        Some(message(entry.bits))
    }

    fn read(&self) -> u32 {
        match self.select {
            REG_ID | REG_ARBITRATION => self.id,
            // Version 0x11 and the highest pin; no EOI register, which came with 0x20.
            REG_VERSION => 0x11 | (self.pins.len() as u32 - 1) << 16,
            index => match self.pin(index) {
                Some((pin, high)) => (self.pins[pin].bits >> if high { 32 } else { 0 }) as u32,
                None => 0,
            },
        }
    }

    fn write(&mut self, value: u32) -> Option<Msi> {
        if self.select == REG_ID {
            self.id = value & 0x0f00_0000;
            return None;
        }
        let (pin, high) = self.pin(self.select)?;
        let entry = &mut self.pins[pin];
        entry.bits = if high {
            entry.bits & 0xffff_ffff | u64::from(value) << 32
        } else {
            entry.bits & !0xffff_ffff | u64::from(value) & 0x1_ffff & !READ_ONLY
        };
        let due = entry.bits & MASKED == 0 && std::mem::take(&mut entry.pending);
        due.then(|| message(entry.bits))
    }

    /// Which pin's entry a register number means, and whether its upper half.
    fn pin(&self, register: u8) -> Option<(usize, bool)> {
        let index = register.checked_sub(REG_TABLE)?;
        let pin = usize::from(index / 2);
        (pin < self.pins.len()).then_some((pin, index % 2 == 1))
    }
}

/// The message that an entry stands for (SDM vol. 3 §11.11): always an edge.
fn message(entry: u64) -> Msi {
    let destination = entry >> 56;
    let logical = u64::from(entry & LOGICAL_DESTINATION != 0);
    let data = (entry & (VECTOR | DELIVERY_MODE)) as u32;
    Msi { address: 0xfee0_0000 | destination << 12 | logical << 2, data }
}

impl BusDevice for IoApic {
    fn read(&self, offset: u64, data: &mut [u8]) {
        let state = self.lock();
        let value = match offset {
            IOREGSEL => u32::from(state.select),
            IOWIN => state.read(),
            _ => 0,
        };
        data.fill(0);
        let bytes = value.to_le_bytes();
        let len = data.len().min(bytes.len());
        data[..len].copy_from_slice(&bytes[..len]);
    }

    fn write(&self, offset: u64, data: &[u8]) {
        let message = match (offset, data) {
            (IOREGSEL, [select, ..]) => {
                self.lock().select = *select;
                None
            }
            // The window takes whole registers only (82093AA §3.1).
            (IOWIN, &[a, b, c, d]) => self.lock().write(u32::from_le_bytes([a, b, c, d])),
            _ => None,
        };
        if let Some(msi) = message {
            self.sink.signal(msi);
        }
    }
}

/// One pin of the chip, as a device holds it.
pub struct Pin {
    chip: Arc<IoApic>,
    number: u8,
}

impl Pin {
    /// Pin `number` of `chip`.
    pub fn new(chip: Arc<IoApic>, number: u8) -> Self {
        Self { chip, number }
    }
}

impl IrqLine for Pin {
    fn pulse(&self) {
        self.chip.pulse(self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Sink(Mutex<Vec<Msi>>);

    impl MsiSink for Sink {
        fn signal(&self, msi: Msi) {
            self.0.lock().expect("unpoisoned").push(msi);
        }
    }

    const PINS: u8 = 8;

    fn chip() -> (IoApic, Arc<Sink>) {
        let sink = Arc::new(Sink::default());
        (IoApic::new(sink.clone(), PINS), sink)
    }

    fn set(chip: &IoApic, register: u8, value: u32) {
        chip.write(IOREGSEL, &u32::from(register).to_le_bytes());
        chip.write(IOWIN, &value.to_le_bytes());
    }

    fn get(chip: &IoApic, register: u8) -> u32 {
        chip.write(IOREGSEL, &u32::from(register).to_le_bytes());
        let mut data = [0; 4];
        chip.read(IOWIN, &mut data);
        u32::from_le_bytes(data)
    }

    #[test]
    fn an_edge_becomes_the_programmed_message() {
        let (chip, sink) = chip();
        set(&chip, REG_TABLE + 11, 0x0300_0000);
        set(&chip, REG_TABLE + 10, 0x0931);
        chip.pulse(5);
        let expected = Msi { address: 0xfee0_3004, data: 0x131 };
        assert_eq!(*sink.0.lock().expect("unpoisoned"), [expected]);
    }

    #[test]
    fn an_edge_on_a_masked_pin_comes_once_after_unmasking() {
        let (chip, sink) = chip();
        chip.pulse(7);
        chip.pulse(7);
        assert!(sink.0.lock().expect("unpoisoned").is_empty());
        set(&chip, REG_TABLE + 14, 0x40);
        set(&chip, REG_TABLE + 14, 0x40);
        assert_eq!(sink.0.lock().expect("unpoisoned").len(), 1);
    }

    #[test]
    fn registers_read_back_and_read_only_bits_stay() {
        let (chip, _) = chip();
        assert_eq!(get(&chip, REG_VERSION), 0x0007_0011);
        set(&chip, REG_VERSION, u32::MAX);
        assert_eq!(get(&chip, REG_VERSION), 0x0007_0011);
        set(&chip, REG_TABLE, u32::MAX);
        assert_eq!(get(&chip, REG_TABLE), 0x1_ffff & !(READ_ONLY as u32));
        set(&chip, REG_TABLE + 1, 0x0500_0000);
        assert_eq!(get(&chip, REG_TABLE + 1), 0x0500_0000);
        set(&chip, REG_ID, u32::MAX);
        assert_eq!(get(&chip, REG_ID), 0x0f00_0000);
    }

    #[test]
    fn m1_every_offset_width_register_and_pin_is_survived() {
        let (chip, sink) = chip();
        for select in 0..=255u8 {
            chip.write(IOREGSEL, &[select]);
            for offset in 0..0x20 {
                for width in [0, 1, 2, 4, 8] {
                    let mut data = [0xa5; 8];
                    chip.read(offset, &mut data[..width]);
                    chip.write(offset + 1, &data[..width]);
                }
            }
        }
        chip.pulse(PINS);
        chip.pulse(255);
        assert!(sink.0.lock().expect("unpoisoned").is_empty());
    }
}
