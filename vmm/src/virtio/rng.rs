//! Entropy device (virtio 1.2 §5.4): fills the driver's buffers from the host's random number generator.

use std::sync::Arc;

use vm_memory::GuestAddress;

use super::device::{ActivateError, Activation, VirtioDevice};
use super::queue::{Chain, QueueError, Virtqueue};
use super::service::{Service, Warnings};
use crate::rate_limit::RateLimit;

/// Linux has one request in flight.
const QUEUE_SIZES: [u16; 1] = [8];
/// At most this much for one request, in bytes; the driver asks again if it wants more.
const PER_REQUEST: u64 = 64 << 10;

type Source = fn(&mut [u8]) -> Result<(), getrandom::Error>;

/// The device.
pub struct Rng {
    source: Source,
    service: Option<Service>,
    warnings: Warnings,
}

impl Rng {
    /// A device over the host's generator.
    pub fn new() -> Self {
        Self { source: getrandom::fill, service: None, warnings: Warnings::default() }
    }
}

impl Default for Rng {
    fn default() -> Self {
        Self::new()
    }
}

impl VirtioDevice for Rng {
    fn name(&self) -> &'static str {
        "rng"
    }

    fn device_type(&self) -> u32 {
        4
    }

    fn features(&self) -> u64 {
        0
    }

    fn queue_sizes(&self) -> &[u16] {
        &QUEUE_SIZES
    }

    fn read_config(&self, _offset: u64, _data: &mut [u8]) {}

    fn activate(&mut self, activation: Activation) -> Result<(), ActivateError> {
        self.reset();
        let Ok([queue]) = <[Virtqueue; 1]>::try_from(activation.queues) else {
            return Err(ActivateError { device: "rng", reason: "it needs exactly one queue".to_owned() });
        };
        let source = self.source;
        let mut failures = RateLimit::default();
        let handle = Box::new(move |queue: &Virtqueue, chain: &Chain| fill(source, &mut failures, queue, chain));
        self.service = Some(Service::start("rng", queue, activation.interrupt, Arc::clone(&self.warnings), handle));
        Ok(())
    }

    fn reset(&mut self) {
        self.service = None;
    }
}

/// Fills the writable part of a chain, up to the limit; returns how far it got. Readable parts mean nothing here.
fn fill(source: Source, failures: &mut RateLimit, queue: &Virtqueue, chain: &Chain) -> Result<u32, QueueError> {
    let wanted = chain.writable_len().min(PER_REQUEST) as usize;
    let mut bytes = [0; 4096];
    let mut done = 0;
    for span in &chain.writable {
        let mut at = span.addr.0;
        let end = at + u64::from(span.len);
        while at < end && done < wanted {
            let room = usize::try_from(end - at).unwrap_or(usize::MAX);
            let piece = &mut bytes[..room.min(wanted - done).min(4096)];
            if let Err(error) = source(piece) {
                // The driver takes a short answer, or none, for "not now" and asks again later.
                if let Some(suppressed) = failures.allow() {
                    tracing::warn!(%error, suppressed, "The host's random number generator failed");
                }
                return Ok(done as u32);
            }
            queue.write(GuestAddress(at), piece)?;
            at += piece.len() as u64;
            done += piece.len();
        }
    }
    Ok(done as u32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::virtio::mock::{Descriptor, LOW_END, MockDriver, WRITE};

    #[tokio::test]
    async fn buffers_come_back_full_and_different() {
        let mut rng = Rng::new();
        let mut driver = MockDriver::for_device(&mut rng);
        let ring = &mut driver.rings[0];
        let (first, second) = (ring.add(&[], &[64]), ring.add_indirect(&[], &[1, 5000, 63]));
        ring.kick();
        let used = ring.next_used(2).await;
        assert_eq!((used[0].len, used[1].len), (64, 5064));
        let bytes = second.written(&used[1]);
        assert_ne!(first.written(&used[0]), bytes[..64]);
        // 5064 random bytes hold nearly every value; zeroes left over would show.
        let zeroes = bytes.iter().filter(|&&byte| byte == 0).count();
        assert!(zeroes < 100, "{zeroes} zero bytes");
    }

    #[tokio::test]
    async fn q6_a_request_is_bounded_and_one_with_no_room_comes_back_empty() {
        let mut rng = Rng::new();
        let mut driver = MockDriver::for_device(&mut rng);
        let ring = &mut driver.rings[0];
        ring.add(&[], &[1 << 20]);
        ring.add(&[b"nothing to write to"], &[]);
        ring.kick();
        let used = ring.next_used(2).await;
        assert_eq!((used[0].len, used[1].len), (64 << 10, 0));
    }

    #[tokio::test]
    async fn q5_a_broken_chain_stops_the_device_and_a_reset_revives_it() {
        let mut rng = Rng::new();
        let mut driver = MockDriver::for_device(&mut rng);
        driver.rings[0].set_descriptor(0, Descriptor::new(LOW_END, 8, WRITE, 0));
        driver.rings[0].offer(0);
        driver.rings[0].kick();
        driver.interrupts.until("NEEDS_RESET", |seen| seen.needs_reset == 1).await;
        rng.reset();
        let mut driver = MockDriver::for_device(&mut rng);
        driver.rings[0].add(&[], &[8]);
        driver.rings[0].kick();
        assert_eq!(driver.rings[0].next_used(1).await[0].len, 8);
    }

    #[tokio::test]
    async fn q14_requests_from_before_activation_are_served_without_a_doorbell() {
        let mut rng = Rng::new();
        let mut driver = MockDriver::new(rng.queue_sizes());
        driver.rings[0].add(&[], &[8]);
        driver.activate(&mut rng, 0);
        assert_eq!(driver.rings[0].next_used(1).await[0].len, 8);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn q17_after_reset_the_device_touches_nothing() {
        let mut rng = Rng::new();
        for _ in 0..200 {
            let mut driver = MockDriver::for_device(&mut rng);
            let ring = &mut driver.rings[0];
            // Every descriptor again and again, as fast as can be, and a reset in the middle of it.
            let requests: Vec<_> = (0..8).map(|_| ring.add(&[], &[16384])).collect();
            ring.kick();
            rng.reset();
            let (index, served) = (ring.ram.read(ring.layout.used + 2, 2), ring.used().len());
            let before: Vec<_> = requests.iter().map(|request| request.writable_bytes()).collect();
            tokio::task::yield_now().await;
            ring.kick();
            let after: Vec<_> = requests.iter().map(|request| request.writable_bytes()).collect();
            assert!(before == after && index == ring.ram.read(ring.layout.used + 2, 2), "{served} were served");
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn q17_a_doorbell_that_outlives_a_reset_wakes_the_next_activation() {
        let mut rng = Rng::new();
        let mut driver = MockDriver::for_device(&mut rng);
        for _ in 0..500 {
            rng.reset();
            driver.activate_again(&mut rng);
            driver.rings[0].add(&[], &[8]);
            driver.rings[0].kick();
            assert_eq!(driver.rings[0].next_used(1).await[0].len, 8);
        }
    }

    #[tokio::test]
    async fn a_failing_generator_gives_what_it_had() {
        let mut rng = Rng::new();
        rng.source = |_| Err(getrandom::Error::UNSUPPORTED);
        let mut driver = MockDriver::for_device(&mut rng);
        driver.rings[0].add(&[], &[8]);
        driver.rings[0].kick();
        assert_eq!(driver.rings[0].next_used(1).await[0].len, 0);
    }
}
