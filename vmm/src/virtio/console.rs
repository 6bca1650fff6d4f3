//! Console device (virtio 1.2 §5.3) with one port, `hvc0`: what the guest prints goes to a bounded log file. The input
//! queue is accepted and never used.

mod log_writer;

use std::io;
use std::sync::Arc;

use vm_memory::GuestAddress;

pub use self::log_writer::LogWriter;
use super::device::{ActivateError, Activation, VirtioDevice};
use super::queue::{Chain, QueueError, Virtqueue};
use super::service::{Service, Warnings};
use crate::config::ConsoleSink;

/// Receive queue, transmit queue (§5.3.2). Linux fills the first with a page per entry, which nothing will ever use.
const QUEUE_SIZES: [u16; 2] = [4, 64];
/// What one chain may print, in bytes; Linux never sends more than 32 KiB. The rest is dropped.
const PER_CHAIN: u64 = 64 << 10;

/// The device.
pub struct Console {
    log: Arc<LogWriter>,
    running: Option<Running>,
    warnings: Warnings,
}

struct Running {
    _transmit: Service,
    /// Input has no source, so nothing is ever popped.
    _receive: Virtqueue,
}

impl Console {
    /// A console whose output goes to the file that `sink` names; fails if that cannot be opened.
    pub fn new(sink: ConsoleSink) -> io::Result<Self> {
        Ok(Self { log: Arc::new(LogWriter::open(sink)?), running: None, warnings: Warnings::default() })
    }

    /// Its log, for whoever else prints for this guest.
    pub fn log(&self) -> Arc<LogWriter> {
        Arc::clone(&self.log)
    }
}

impl VirtioDevice for Console {
    fn name(&self) -> &'static str {
        "console"
    }

    fn device_type(&self) -> u32 {
        3
    }

    fn features(&self) -> u64 {
        0
    }

    fn queue_sizes(&self) -> &[u16] {
        &QUEUE_SIZES
    }

    /// Columns, rows, ports: none of them exists without its feature bit (§5.3.4).
    fn read_config(&self, _offset: u64, _data: &mut [u8]) {}

    fn activate(&mut self, activation: Activation) -> Result<(), ActivateError> {
        self.reset();
        let Ok([receive, transmit]) = <[Virtqueue; 2]>::try_from(activation.queues) else {
            return Err(ActivateError { device: "console", reason: "it needs exactly two queues".to_owned() });
        };
        let log = Arc::clone(&self.log);
        let handle = Box::new(move |queue: &Virtqueue, chain: &Chain| print(&log, queue, chain));
        let transmit = Service::start("console", transmit, activation.interrupt, Arc::clone(&self.warnings), handle);
        self.running = Some(Running { _transmit: transmit, _receive: receive });
        Ok(())
    }

    fn reset(&mut self) {
        self.running = None;
    }
}

/// Hands a chain's readable part to the log. Writable parts mean nothing here.
fn print(log: &LogWriter, queue: &Virtqueue, chain: &Chain) -> Result<u32, QueueError> {
    let mut left = PER_CHAIN;
    let mut bytes = [0; 4096];
    for span in &chain.readable {
        let mut at = span.addr.0;
        let end = at + u64::from(span.len).min(left);
        left -= end - at;
        while at < end {
            let piece = &mut bytes[..(end - at).min(4096) as usize];
            queue.read(GuestAddress(at), piece)?;
            log.write(piece);
            at += piece.len() as u64;
        }
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::virtio::mock::{Descriptor, LOW_END, MockDriver};

    fn console(dir: &tempfile::TempDir) -> (Console, std::path::PathBuf) {
        let path = dir.path().join("console.log");
        (Console::new(ConsoleSink { path: path.clone(), max_bytes: 1 << 20 }).unwrap(), path)
    }

    #[tokio::test]
    async fn output_reaches_the_file_in_order_byte_for_byte() {
        let dir = tempfile::tempdir().unwrap();
        let (mut console, path) = console(&dir);
        let mut driver = MockDriver::for_device(&mut console);
        let ring = &mut driver.rings[1];
        let mut expected = Vec::new();
        for line in 0..200u32 {
            let text = format!("\x1b[1mline {line}\x1b[0m\r\n");
            let long = vec![line as u8; 5000];
            ring.add(&[text.as_bytes(), &long], &[]);
            ring.kick();
            assert_eq!(ring.next_used(1).await[0].len, 0);
            expected.extend_from_slice(text.as_bytes());
            expected.extend_from_slice(&long);
            if line % 8 == 7 {
                console.log.settle();
            }
        }
        drop(console);
        let mut written = fs::read(path.with_extension("log.1")).unwrap();
        written.extend(fs::read(path).unwrap());
        assert!(expected.ends_with(&written) && written.len() > 512 << 10, "{} bytes", written.len());
    }

    #[tokio::test]
    async fn q6_a_huge_chain_prints_its_beginning_and_no_more() {
        let dir = tempfile::tempdir().unwrap();
        let (mut console, path) = console(&dir);
        let mut driver = MockDriver::for_device(&mut console);
        let ring = &mut driver.rings[1];
        ring.set_descriptor(0, Descriptor::new(0, LOW_END as u32, 1, 1));
        ring.set_descriptor(1, Descriptor::new(0, LOW_END as u32, 0, 0));
        ring.offer(0);
        ring.kick();
        ring.next_used(1).await;
        drop(console);
        assert_eq!(fs::metadata(path).unwrap().len(), PER_CHAIN);
    }

    #[tokio::test]
    async fn q5_a_broken_chain_stops_the_device_and_a_reset_revives_it() {
        let dir = tempfile::tempdir().unwrap();
        let (mut console, path) = console(&dir);
        let mut driver = MockDriver::for_device(&mut console);
        driver.rings[1].set_descriptor(0, Descriptor::new(u64::MAX, 8, 0, 0));
        driver.rings[1].offer(0);
        driver.rings[1].kick();
        driver.interrupts.until("NEEDS_RESET", |seen| seen.needs_reset == 1).await;
        console.reset();
        let mut driver = MockDriver::for_device(&mut console);
        driver.rings[0].add(&[], &[4096]);
        driver.rings[0].kick();
        driver.rings[1].add(&[b"alive\n"], &[]);
        driver.rings[1].kick();
        driver.rings[1].next_used(1).await;
        assert!(driver.rings[0].used().is_empty(), "there is no input");
        drop(console);
        assert_eq!(fs::read(path).unwrap(), b"alive\n");
    }
}
