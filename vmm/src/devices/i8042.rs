//! The keyboard controller, of which only the reset line exists: Linux's `reboot=k` pulls it. Reads answer 0, which says
//! "ready for a command" to whoever polls the status port.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};

use vm_superio::{I8042Device, Trigger};

use crate::bus::BusDevice;
use crate::engine::Stop;
use crate::stop::StopLatch;

struct ResetLine(Arc<StopLatch>);

impl Trigger for ResetLine {
    type E = Infallible;

    fn trigger(&self) -> Result<(), Infallible> {
        self.0.request(Stop::Reset);
        Ok(())
    }
}

/// The controller; lives at ports 0x60 to 0x64.
pub struct I8042(Mutex<I8042Device<ResetLine>>);

impl I8042 {
    /// A controller whose reset line ends the machine.
    pub fn new(stop: Arc<StopLatch>) -> Self {
        Self(Mutex::new(I8042Device::new(ResetLine(stop))))
    }
}

impl BusDevice for I8042 {
    fn read(&self, offset: u64, data: &mut [u8]) {
        data.fill(0);
        if let ([first, ..], Ok(offset)) = (data, u8::try_from(offset)) {
            *first = self.0.lock().unwrap_or_else(PoisonError::into_inner).read(offset);
        }
    }

    fn write(&self, offset: u64, data: &[u8]) {
        if let (&[value], Ok(offset)) = (data, u8::try_from(offset)) {
            // The error type has no values: pulling the line cannot fail.
            let Ok(()) = self.0.lock().unwrap_or_else(PoisonError::into_inner).write(offset, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn m7_only_the_reset_command_on_the_command_port_resets() {
        let stop = Arc::new(StopLatch::default());
        let controller = I8042::new(Arc::clone(&stop));
        for offset in 0..5 {
            for value in 0..=255u8 {
                if (offset, value) != (4, 0xfe) {
                    controller.write(offset, &[value]);
                }
            }
        }
        controller.write(4, &[0xfe, 0xfe]);
        assert!(!stop.is_requested());
        controller.write(4, &[0xfe]);
        assert!(stop.is_requested());
    }

    #[test]
    fn m1_reads_of_any_width_answer_zero() {
        let controller = I8042::new(Arc::default());
        for width in 0..=8 {
            let mut data = [0xff; 8];
            controller.read(4, &mut data[..width]);
            assert!(data[..width].iter().all(|&byte| byte == 0));
        }
    }
}
