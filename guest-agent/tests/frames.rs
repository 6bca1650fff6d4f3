//! Frames of a hostile or broken host over a real socket (A1), with deadlines that a trickle of bytes does not move.
#![allow(clippy::unwrap_used, reason = "a failed test says so")]

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

use lighter_agent::frames::{FrameError, Frames};
use lighter_protocol::wire::{MAX_MESSAGE, encode};
use lighter_protocol::{Request, VERSION};

fn pair() -> (UnixStream, Frames) {
    let (host, guest) = UnixStream::pair().unwrap();
    (host, Frames::new(guest.into()))
}

fn within(milliseconds: u64) -> Instant {
    Instant::now() + Duration::from_millis(milliseconds)
}

#[test]
fn a1_a_frame_in_pieces_and_two_frames_in_one_are_the_same_frames() {
    let (mut host, mut guest) = pair();
    let mut bytes = encode(&Request::Info).unwrap();
    bytes.extend(encode(&Request::Shutdown { grace_seconds: 3 }).unwrap());
    let (first, rest) = bytes.split_at(3);
    host.write_all(first).unwrap();
    let waiting = thread::spawn(move || {
        let first = guest.message::<Request>(within(20_000)).unwrap();
        let second = guest.message::<Request>(within(20_000)).unwrap();
        (first, second)
    });
    host.write_all(rest).unwrap();
    let expected = (Some(Request::Info), Some(Request::Shutdown { grace_seconds: 3 }));
    assert_eq!(waiting.join().unwrap(), expected);
}

#[test]
fn a1_half_a_frame_and_then_silence_times_out() {
    let (mut host, mut guest) = pair();
    host.write_all(&encode(&Request::Info).unwrap()[..6]).unwrap();
    assert!(matches!(guest.message::<Request>(within(50)), Err(FrameError::TimedOut)));
}

#[test]
fn a1_one_byte_at_a_time_does_not_move_the_deadline() {
    let (mut host, mut guest) = pair();
    let deadline = within(100);
    let trickle = thread::spawn(move || {
        // A frame that takes minutes; ends when the guest has hung up.
        let mut byte = (MAX_MESSAGE as u32).to_le_bytes().into_iter().chain(std::iter::repeat(b' '));
        while host.write_all(&[byte.next().unwrap()]).is_ok() {
            // The slowness of the peer that is played here.
            thread::sleep(Duration::from_millis(1));
            if Instant::now() > deadline + Duration::from_secs(10) {
                return;
            }
        }
    });
    assert!(matches!(guest.message::<Request>(deadline), Err(FrameError::TimedOut)));
    drop(guest);
    trickle.join().unwrap();
}

#[test]
fn a1_closing_between_frames_is_an_end_and_within_one_an_error() {
    let (host, mut guest) = pair();
    drop(host);
    assert!(guest.message::<Request>(within(20_000)).unwrap().is_none());
    let (mut host, mut guest) = pair();
    host.write_all(&[9, 0]).unwrap();
    drop(host);
    assert!(matches!(guest.message::<Request>(within(20_000)), Err(FrameError::Cut)));
}

#[test]
fn a1_a_length_of_four_gigabytes_is_refused_before_a_byte_of_it_is_stored() {
    let (mut host, mut guest) = pair();
    host.write_all(&u32::MAX.to_le_bytes()).unwrap();
    assert!(matches!(guest.message::<Request>(within(20_000)), Err(FrameError::Wire(_))));
}

#[test]
fn a_host_that_does_not_read_cannot_hold_a_sender_for_ever() {
    let (_host, mut guest) = pair();
    let mut sent = 0;
    let error = loop {
        match guest.send(&VERSION, within(50)) {
            Ok(()) => sent += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, FrameError::TimedOut));
    assert!(sent > 0);
}
