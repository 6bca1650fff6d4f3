//! Reports of an honest driver and of hostile ones, judged by what memory holds afterwards: what went back to the host reads as
//! zeroes, all else is as it was. On Linux, where that is promised.
#![cfg(target_os = "linux")]

use std::ops::Range;
use std::os::unix::fs::FileExt;

use proptest::prelude::*;
use vm_memory::{Bytes, GuestAddress, GuestMemory as _};

use super::*;
use crate::virtio::device::Interrupt;
use crate::virtio::mock::{Descriptor, HIGH_BASE, HIGH_END, LOW_END, MockDriver, NEXT, Ram, WRITE};

const REPORTING: usize = 2;
const PAGE: u64 = 4096;
/// What a page of free RAM holds until it goes back to the host.
const KEPT: [u8; PAGE as usize] = [0xaa; PAGE as usize];
/// RAM without the mock's rings.
const FREE: [Range<u64>; 2] = [1 << 20..LOW_END, HIGH_BASE..HIGH_END];

fn balloon() -> Balloon {
    Balloon::new(GiveBack::here().expect("Linux can"))
}

/// A driver whose free RAM holds no zero.
fn driver(device: &mut Balloon) -> MockDriver {
    let driver = MockDriver::for_device(device);
    fill(&driver.ram);
    driver
}

fn fill(ram: &Ram) {
    FREE.iter().for_each(|part| ram.write(part.start, &vec![0xaa; (part.end - part.start) as usize]));
}

/// First addresses of the pages of free RAM that went back to the host; the others must be untouched.
fn given(ram: &Ram) -> Vec<u64> {
    let pages = FREE.into_iter().flat_map(|part| part.step_by(PAGE as usize));
    let is_given = |&page: &u64| {
        let bytes = ram.read(page, PAGE as usize);
        assert!(bytes == KEPT || bytes == [0; PAGE as usize], "a part of the page at {page:#x}");
        bytes != KEPT
    };
    pages.filter(is_given).collect()
}

fn pages(ranges: impl IntoIterator<Item = Range<u64>>) -> Vec<u64> {
    ranges.into_iter().flat_map(|range| range.step_by(PAGE as usize)).collect()
}

/// Offers a chain of these `(address, bytes)` blocks, and returns its head.
fn report(driver: &mut MockDriver, blocks: &[(u64, u32)], flags: u16) {
    let ring = &mut driver.rings[REPORTING];
    for (index, &(addr, len)) in (0u16..).zip(blocks) {
        let next = if usize::from(index) + 1 < blocks.len() { NEXT } else { 0 };
        ring.set_descriptor(index, Descriptor::new(addr, len, flags | next, index + 1));
    }
    ring.offer(0);
    ring.kick();
}

/// Whether the host has memory behind a guest address, from `/proc/self/pagemap` (bit 63: present, bit 62: swapped out).
fn is_held(ram: &Ram, addr: u64) -> bool {
    let host = ram.memory.get_host_address(GuestAddress(addr)).unwrap().addr() as u64;
    let mut entry = [0; 8];
    let map = std::fs::File::open("/proc/self/pagemap").unwrap();
    map.read_exact_at(&mut entry, host / PAGE * 8).unwrap();
    u64::from_le_bytes(entry) >> 62 != 0
}

#[tokio::test]
async fn reported_memory_is_gone_when_the_report_comes_back_and_serves_the_guest_again() {
    let mut device = balloon();
    let mut driver = driver(&mut device);
    let (block, after) = (4 << 20, 8 << 20);
    assert!(is_held(&driver.ram, block) && is_held(&driver.ram, after - PAGE));
    report(&mut driver, &[(block, 4 << 20)], WRITE);
    let used = driver.rings[REPORTING].next_used(1).await;
    assert_eq!((used[0].head, used[0].len), (0, 0));
    assert!((block..after).step_by(PAGE as usize).all(|page| !is_held(&driver.ram, page)), "the host still holds it");
    assert!(is_held(&driver.ram, block - PAGE) && is_held(&driver.ram, after));
    assert_eq!(given(&driver.ram), pages(Some(block..after)));
    driver.ram.write(block, b"used again");
    assert_eq!(driver.ram.read(block, 10), b"used again");
}

#[tokio::test]
async fn a_report_as_long_as_the_queue_goes_back_whole_and_the_next_one_too() {
    let mut device = balloon();
    let mut driver = driver(&mut device);
    let blocks: Vec<_> = (0..32).map(|n| ((1 << 20) + n * (256 << 10), 128 << 10)).collect();
    for blocks in [&blocks[..], &[(HIGH_BASE, 1 << 20)]] {
        report(&mut driver, blocks, WRITE);
        driver.rings[REPORTING].next_used(1).await;
    }
    let ranges = blocks.iter().map(|&(addr, len)| addr..addr + u64::from(len)).chain(Some(HIGH_BASE..HIGH_END));
    assert_eq!(given(&driver.ram), pages(ranges));
}

#[tokio::test]
async fn parts_of_pages_and_what_is_lent_for_reading_are_kept() {
    let mut device = balloon();
    let mut driver = driver(&mut device);
    let at = 4 << 20;
    let partial: &[(u64, u32)] =
        &[(at, 1), (at, 4095), (at + 1, 4096), (at + 4095, 2), (at + 1, 8190), (LOW_END - 1, 1)];
    for &block in partial {
        report(&mut driver, &[block], WRITE);
        driver.rings[REPORTING].next_used(1).await;
        assert!(given(&driver.ram).is_empty(), "{block:?}");
    }
    report(&mut driver, &[(at, 1 << 20)], 0);
    driver.rings[REPORTING].next_used(1).await;
    assert!(given(&driver.ram).is_empty());
    // Of three pages touched, the one that lies within goes.
    report(&mut driver, &[(at + 4095, 4098)], WRITE);
    driver.rings[REPORTING].next_used(1).await;
    assert_eq!(given(&driver.ram), [at + PAGE]);
    assert_eq!(driver.interrupts.seen().needs_reset, 0);
}

#[tokio::test]
async fn q5_blocks_outside_ram_take_nothing_with_them_and_a_reset_revives_the_device() {
    let outside = [
        (LOW_END, 4096),
        (LOW_END - PAGE, 8192),
        (LOW_END - PAGE, u32::MAX),
        (HIGH_BASE - PAGE, 8192),
        (HIGH_END - PAGE, 8192),
        (u64::MAX - 4095, 4096),
        (u64::MAX - 4095, 8192),
        (0xd000_0000, 4096),
        (4 << 20, 0),
    ];
    let mut device = balloon();
    for block in outside {
        let mut driver = driver(&mut device);
        // A good block in front of the bad one: the chain is refused as a whole.
        report(&mut driver, &[(4 << 20, 4096), block], WRITE);
        driver.interrupts.until("NEEDS_RESET", |seen| seen.needs_reset == 1).await;
        assert!(given(&driver.ram).is_empty(), "{block:?}");
    }
    let mut driver = driver(&mut device);
    report(&mut driver, &[(4 << 20, 4096)], WRITE);
    driver.rings[REPORTING].next_used(1).await;
    assert_eq!(given(&driver.ram), [4 << 20]);
}

#[tokio::test]
async fn inflating_and_deflating_take_nothing_and_the_target_stays_zero() {
    let mut device = balloon();
    let mut driver = driver(&mut device);
    let numbers: Vec<u8> = (1024u32..2048).flat_map(u32::to_le_bytes).collect();
    for queue in [0, 1] {
        let ring = &mut driver.rings[queue];
        // Page numbers, half a page number, and room to write, which means nothing here.
        ring.add(&[&numbers], &[]);
        ring.add(&[&numbers[..2]], &[]);
        ring.add(&[], &[4096]);
        ring.kick();
        assert!(ring.next_used(3).await.iter().all(|used| used.len == 0));
    }
    // The pages that the numbers name.
    assert!(driver.ram.read(4 << 20, 4 << 20) == KEPT.repeat(1024));
    device.write_config(4, &7u32.to_le_bytes());
    let mut config = [0xff; 16];
    device.read_config(0, &mut config);
    assert_eq!(config, [0; 16]);
}

#[tokio::test]
async fn q14_reports_from_before_activation_are_served_without_a_doorbell() {
    let mut device = balloon();
    let mut driver = MockDriver::new(device.queue_sizes());
    fill(&driver.ram);
    driver.rings[REPORTING].set_descriptor(0, Descriptor::new(4 << 20, 4096, WRITE, 0));
    driver.rings[REPORTING].offer(0);
    driver.activate(&mut device, F_PAGE_REPORTING);
    driver.rings[REPORTING].next_used(1).await;
    assert_eq!(given(&driver.ram), [4 << 20]);
}

#[tokio::test]
async fn q17_after_reset_the_device_takes_nothing() {
    let mut device = balloon();
    let mut driver = driver(&mut device);
    for _ in 0..100 {
        let ring = &mut driver.rings[REPORTING];
        for index in 0..32 {
            ring.set_descriptor(index, Descriptor::new((1 << 20) + u64::from(index) * PAGE, 4096, WRITE, 0));
            ring.offer(index);
        }
        ring.kick();
        device.reset();
        // All that the device does from here on would be seen.
        fill_first(&driver.ram);
        driver.rings[REPORTING].kick();
        tokio::task::yield_now().await;
        assert_eq!(driver.ram.read(1 << 20, 32 * PAGE as usize), KEPT.repeat(32));
        driver.activate_again(&mut device);
    }
}

fn fill_first(ram: &Ram) {
    ram.write(1 << 20, &KEPT.repeat(32));
}

/// The reporting queue's thread without the thread.
fn reports(driver: &MockDriver) -> Reports {
    Reports {
        queue: driver.rings[REPORTING].virtqueue(),
        interrupt: Arc::clone(&driver.interrupts) as Arc<dyn Interrupt>,
        give_back: GiveBack::here().expect("Linux can"),
        limits: Arc::default(),
        stop: Arc::default(),
    }
}

/// An address near the border of something, or anywhere.
fn address() -> impl Strategy<Value = u64> {
    let borders = [FREE[0].start, 2 << 20, LOW_END, HIGH_BASE, HIGH_END, 1 << 32, u64::MAX];
    let near = (prop::sample::select(borders.to_vec()), -3i64..4, 0i64..3);
    prop_oneof![
        8 => near.prop_map(|(border, pages, bytes)| border.wrapping_add_signed(pages * 4096 + bytes - 1)),
        1 => FREE[0].clone(),
        1 => any::<u64>(),
    ]
}

fn length() -> impl Strategy<Value = u32> {
    prop_oneof![8 => 1u32..5 * 4096, 2 => prop::sample::select(vec![0, 1, 4095, 4096, 8192, u32::MAX]), 1 => any::<u32>()]
}

fn within_free(addr: u64, len: u32) -> bool {
    let end = addr.checked_add(len.into());
    len > 0 && FREE.iter().any(|part| addr >= part.start && end.is_some_and(|end| end <= part.end))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    /// What goes are the whole pages of blocks for writing, of chains that are sound; nothing else, whatever is reported.
    #[test]
    fn random_reports_take_whole_pages_of_their_own_and_no_others(
        blocks in prop::collection::vec((address(), length(), prop::bool::weighted(0.9)), 1..8),
    ) {
        let mut driver = MockDriver::new(&QUEUE_SIZES);
        fill(&driver.ram);
        // A block that reaches into the rings is for the test below.
        let blocks: Vec<_> = blocks.into_iter().filter(|&(addr, len, _)| addr >= FREE[0].start || within_free(addr, len)).collect();
        prop_assume!(!blocks.is_empty());
        for (index, &(addr, len, writes)) in (0u16..).zip(&blocks) {
            let flags = if writes { WRITE } else { 0 };
            driver.rings[REPORTING].set_descriptor(index, Descriptor::new(addr, len, flags, 0));
            driver.rings[REPORTING].offer(index);
        }
        let outcome = reports(&driver).drain();
        let sound = blocks.iter().take_while(|&&(addr, len, _)| within_free(addr, len)).count();
        prop_assert_eq!(outcome.is_ok(), sound == blocks.len());
        prop_assert_eq!(driver.rings[REPORTING].used().len(), sound);
        let whole = blocks[..sound].iter().filter(|block| block.2).map(|&(addr, len, _)| {
            addr.next_multiple_of(PAGE)..(addr + u64::from(len)) / PAGE * PAGE
        });
        let mut expected = pages(whole);
        expected.sort_unstable();
        expected.dedup();
        prop_assert_eq!(given(&driver.ram), expected);
    }

    /// Descriptors of arbitrary bytes, the rings' own memory among what they report.
    #[test]
    fn arbitrary_reports_leave_the_device_able_to_answer(
        table in prop::collection::vec((0u64..3 << 20, 0u32..1 << 21, any::<u16>(), 0u16..40), 32),
        heads in prop::collection::vec(0u16..33, 1..32),
    ) {
        let mut driver = MockDriver::new(&QUEUE_SIZES);
        let ring = &mut driver.rings[REPORTING];
        for (index, &(addr, len, flags, next)) in (0u16..).zip(&table) {
            ring.set_descriptor(index, Descriptor::new(addr, len, flags & 7, next));
        }
        heads.iter().for_each(|&head| ring.offer(head));
        let _answered = reports(&driver).drain();
        driver.ram.memory.write_obj(0u8, GuestAddress(LOW_END - 1)).expect("RAM is still there");
    }
}
