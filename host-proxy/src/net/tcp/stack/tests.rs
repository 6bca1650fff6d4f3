//! How the guest's side behaves: what its frames take, and what is sent again.

use super::*;
use crate::net::packet::TYPE_IPV4;

#[test]
fn rows_fill_a_large_buffer_and_a_small_one_stays() {
    assert_eq!((whole_rows(256 << 10, true), whole_rows(256 << 10, false)), (4 * 65_480, 4 * 65_460));
    assert_eq!((whole_rows(32 << 10, true), whole_rows(65_480, true)), (32 << 10, 65_480));
}

/// A segment of the guest: sequence number 1000 and on, `options` behind the header.
pub fn segment(far: SocketAddr, sequence: u32, acknowledged: u32, flags: u8, options: &[u8]) -> Packet {
    segment_with(far, sequence, acknowledged, flags, u16::MAX, options)
}

fn segment_with(far: SocketAddr, sequence: u32, acknowledged: u32, flags: u8, window: u16, options: &[u8]) -> Packet {
    let mut segment = [&[0x9c, 0x40][..], &far.port().to_be_bytes(), &sequence.to_be_bytes()].concat();
    segment.extend_from_slice(&acknowledged.to_be_bytes());
    segment.extend_from_slice(&[(((20 + options.len()) / 4) << 4) as u8, flags]);
    segment.extend_from_slice(&window.to_be_bytes());
    segment.extend_from_slice(&[0; 4]);
    segment.extend_from_slice(options);
    let mut frame = vec![0; ETHERNET];
    frame.extend(datagram::header(plan::GUEST_V4.into(), far.ip(), TCP, segment.len()));
    frame.extend(segment);
    Packet::parse(frame, TYPE_IPV4).unwrap()
}

/// A connection whose guest has a window of 8 MiB, and takes segments as short as they come.
fn standing(size: usize, accepts: Accepts, spares: Spares) -> Stack {
    let far = SocketAddr::from(([192, 0, 2, 1], 80));
    let syn = segment(far, 1000, 0, 2, &[2, 4, 0, 100, 3, 3, 7, 0]);
    let wire = Wire::new(Buffers(size), accepts, spares);
    let mut stack = Stack::answering(syn, far, wire, &Stock::default(), 1);
    round(&mut stack, 1);
    let answer = stack.sent().pop().unwrap().bytes;
    let theirs = u32::from_be_bytes(answer[38..42].try_into().unwrap()).wrapping_add(1);
    stack.receive(segment(far, 1001, theirs, 16, &[]));
    round(&mut stack, 2);
    stack
}

fn round(stack: &mut Stack, now: i64) {
    stack.take(Instant::from_micros(now));
    stack.send(Instant::from_micros(now));
}

/// What such frames take in memory.
fn held(frames: &[Frame]) -> usize {
    frames.iter().map(|frame| frame.bytes.capacity() + FRAME).sum()
}

const EVERYTHING: Accepts = Accepts { partial_checksums: true, segments_v4: true, segments_v6: true };

/// It has no memory for what it promised to take, says so, and has nothing to say when it has memory again.
#[test]
fn what_a_guest_dropped_when_it_closed_its_window_is_sent_again() {
    let far = SocketAddr::from(([192, 0, 2, 1], 80));
    let sequence = |frame: &[u8]| u32::from_be_bytes(frame[38..42].try_into().unwrap());
    // It took nothing, a part, or all but a byte; then the far side may have ended.
    for (taken, ended) in [(0, false), (2000, false), (4999, false), (2000, true)] {
        let mut stack = standing(32 << 10, EVERYTHING, Spares::default());
        stack.socket().send_slice(&[7; 5000]).unwrap();
        round(&mut stack, 3);
        let first = sequence(&stack.sent().pop().unwrap().bytes);
        stack.receive(segment_with(far, 1001, first.wrapping_add(taken), 16, 0, &[]));
        round(&mut stack, 4);
        if ended {
            // The guest ended first, so that this is the last that is to come.
            stack.receive(segment_with(far, 1001, first.wrapping_add(taken), 17, 0, &[]));
            round(&mut stack, 5);
            stack.socket().close();
        }
        let mut again = Vec::new();
        for now in (6..5_000_000).step_by(50_000) {
            round(&mut stack, now);
            again.extend(stack.sent().drain(..).map(|frame| frame.bytes));
        }
        let rest = |frame: &&Vec<u8>| sequence(frame) == first.wrapping_add(taken) && frame.len() > 54;
        let rest = again.iter().find(rest).unwrap_or_else(|| panic!("{taken} {ended}: not sent again"));
        assert_eq!(rest.len(), 54 + 5000 - taken as usize, "{taken} {ended}");
        assert!(again.len() < 20, "{} frames in five seconds", again.len());
    }
}

#[test]
fn n9_rows_of_middling_length_are_counted_with_the_memory_of_long_ones() {
    // What another connection or datagram left behind.
    for left in [None, Some(40 << 10), Some(65_000)] {
        for (size, rows) in [(256 << 10, vec![32_714, 32_500, 100_000]), (32 << 10, vec![54, 32_714])] {
            let spares = Spares::default();
            (0..4).for_each(|_| left.into_iter().for_each(|length| spares.put(vec![7; length])));
            let mut stack = standing(size, EVERYTHING, spares);
            for (now, row) in (3..).zip(rows) {
                assert_eq!(stack.socket().send_slice(&vec![7; row]), Ok(row));
                round(&mut stack, now);
            }
            assert!(stack.sent().iter().all(|frame| frame.bytes.capacity() <= LONGEST_FRAME));
            let held = held(stack.sent());
            assert!(held > 32 << 10 && 2 * size + held + REST / 2 <= Stack::price(Buffers(size)), "{held} for {size}");
        }
    }
}

#[test]
fn n9_frames_that_wait_never_take_more_than_the_price_says() {
    for accepts in [Accepts::default(), EVERYTHING] {
        for size in [256 << 10, 32 << 10, 8 << 10] {
            let mut stack = standing(size, accepts, Spares::default());
            let all = stack.socket().send_slice(&vec![7; size]).unwrap();
            assert!(all > size / 2);
            let (mut rounds, mut payload) = (0, 0);
            while payload < all {
                round(&mut stack, 3 + rounds);
                let frames = std::mem::take(stack.sent());
                assert!(!frames.is_empty(), "{payload} of {all} bytes were sent in {rounds} rounds");
                let bytes: usize = frames.iter().map(|frame| frame.bytes.len()).sum();
                let held = held(&frames);
                assert!(2 * size + held + REST / 2 <= Stack::price(Buffers(size)), "{held} for {size}");
                payload += bytes - frames.len() * (ETHERNET + 40);
                rounds += 1;
            }
        }
    }
}
