//! The queue against a hostile driver: catalogue entries Q1–Q13, Q15, Q18, and chains made of random descriptors.
//! Here is what the tests share: ways to offer a chain and to see what becomes of it.

mod random;
mod rings;
mod rules;

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use proptest::prelude::*;

use super::*;
use crate::virtio::mock::{Descriptor, HIGH_BASE, HIGH_END, INDIRECT, LOW_END, MockDriver, NEXT, Ring, WRITE};

const SIZE: u16 = 8;
const BUFFER: u64 = 9 << 20;

fn ring() -> Ring {
    MockDriver::new(&[SIZE]).rings.remove(0)
}

/// What `pop` says to a chain of these descriptors, at indices 0, 1, …, offered by its head 0.
fn offer(descriptors: &[Descriptor]) -> Result<Chain, String> {
    let mut ring = ring();
    for (index, &descriptor) in (0..).zip(descriptors) {
        ring.set_descriptor(index, descriptor);
    }
    ring.offer(0);
    pop(&mut ring.virtqueue())
}

/// What `pop` says to descriptor 0 naming an indirect table of these.
fn offer_table(descriptors: &[Descriptor]) -> Result<Chain, String> {
    let mut ring = ring();
    let table = ring.indirect_table(descriptors);
    ring.set_descriptor(0, Descriptor::new(table, descriptors.len() as u32 * 16, INDIRECT, 0));
    ring.offer(0);
    pop(&mut ring.virtqueue())
}

fn pop(queue: &mut Virtqueue) -> Result<Chain, String> {
    queue.pop().map(|chain| chain.expect("one is offered")).map_err(|error| error.to_string())
}

fn chained(addr: u64, len: u32, next: u16) -> Descriptor {
    Descriptor::new(addr, len, NEXT, next)
}

fn single(addr: u64, len: u32) -> Descriptor {
    Descriptor::new(addr, len, 0, 0)
}

/// `n` one-byte descriptors chained in order.
fn row(n: u16) -> Vec<Descriptor> {
    (0..n).map(|i| Descriptor::new(BUFFER, 1, if i + 1 < n { NEXT } else { 0 }, i + 1)).collect()
}

#[track_caller]
fn refused(outcome: Result<Chain, String>, reason: &str) {
    let error = outcome.expect_err("must be refused");
    assert!(error.contains(reason), "refused for another reason: {error}");
}
