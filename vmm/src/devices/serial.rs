//! A 16550 serial port that only prints, for kernels told to talk early (`earlyprintk=ttyS0`): what they say before
//! `hvc0` exists goes into the same bounded log. Nothing is ever received and no interrupt is wired. Built by `boot` only
//! when the command line names the port, because a kernel that finds it pays an exit for every byte.

use std::convert::Infallible;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use vm_superio::serial::NoEvents;
use vm_superio::{Serial, Trigger};

use crate::bus::BusDevice;
use crate::virtio::console::LogWriter;

struct NoInterrupt;

impl Trigger for NoInterrupt {
    type E = Infallible;

    fn trigger(&self) -> Result<(), Infallible> {
        Ok(())
    }
}

/// The log as the port's other end; takes everything at once and never blocks.
struct Line(Arc<LogWriter>);

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The port's registers.
pub struct SerialPort(Mutex<Serial<NoInterrupt, NoEvents, Line>>);

impl SerialPort {
    /// A port whose output goes to `log`.
    pub fn new(log: Arc<LogWriter>) -> Self {
        Self(Mutex::new(Serial::new(NoInterrupt, Line(log))))
    }
}

impl BusDevice for SerialPort {
    fn read(&self, offset: u64, data: &mut [u8]) {
        data.fill(0);
        if let ([first, ..], Ok(offset)) = (data, u8::try_from(offset)) {
            *first = self.0.lock().unwrap_or_else(PoisonError::into_inner).read(offset);
        }
    }

    fn write(&self, offset: u64, data: &[u8]) {
        if let (&[value], Ok(offset)) = (data, u8::try_from(offset)) {
            // In loop-back mode a guest can fill the port with its own bytes; those too many are lost, as on hardware.
            if let Err(error) = self.0.lock().unwrap_or_else(PoisonError::into_inner).write(offset, value) {
                tracing::trace!(?error, "serial byte lost");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ConsoleSink;

    fn port(max_bytes: u64) -> (SerialPort, Arc<LogWriter>, tempfile::TempDir) {
        let place = tempfile::tempdir().expect("a temporary directory");
        let sink = ConsoleSink { path: place.path().join("log"), max_bytes };
        let log = Arc::new(LogWriter::open(sink).expect("a new file"));
        (SerialPort::new(Arc::clone(&log)), log, place)
    }

    #[test]
    fn bytes_go_to_the_log_and_the_port_is_always_ready_for_more() {
        let (port, log, place) = port(1 << 20);
        for byte in b"Linux" {
            let mut ready = [0];
            port.read(5, &mut ready);
            assert_eq!(ready[0] & 0x20, 0x20);
            port.write(0, &[*byte]);
        }
        log.settle();
        assert_eq!(std::fs::read(place.path().join("log")).expect("written"), b"Linux");
    }

    #[test]
    fn m6_a_flood_is_bounded_on_disk() {
        let (port, log, place) = port(64 << 10);
        for _ in 0..1 << 20 {
            port.write(0, b"x");
        }
        log.settle();
        let total: u64 = std::fs::read_dir(place.path())
            .expect("readable")
            .map(|file| file.expect("readable").metadata().expect("readable").len())
            .sum();
        assert!(total <= 2 * (64 << 10), "{total} bytes");
    }

    #[test]
    fn m1_every_register_width_and_value_is_survived() {
        let (port, _log, _place) = port(1 << 20);
        for value in 0..=255u8 {
            for offset in 0..8 {
                for width in [0, 1, 2, 4] {
                    let mut data = [value; 4];
                    port.write(offset, &data[..width]);
                    port.read(offset, &mut data[..width]);
                }
            }
        }
    }
}
