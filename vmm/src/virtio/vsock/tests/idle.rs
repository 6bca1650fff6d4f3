//! What connections hold while nothing goes through them, and how long a place is held for a guest that takes nothing.

use std::time::Duration;

use super::bench::{Bench, Got};
use crate::virtio::vsock::packet::Op;

fn holding(bench: &Bench) -> usize {
    bench.muxer.entries.values().filter(|entry| entry.connection.holds_memory()).count()
}

/// Comes back whenever the muxer asks for it, for so long; how often that was.
fn idle(bench: &mut Bench, seconds: u64) -> usize {
    let end = bench.now + Duration::from_secs(seconds);
    let mut rounds = 0;
    while let Some(at) = bench.muxer.deadline().filter(|at| *at <= end) {
        bench.now = at.max(bench.now);
        bench.muxer.advance(bench.now);
        rounds += 1;
        assert!(rounds < 100, "it asks for more and more");
    }
    bench.now = end;
    rounds
}

#[test]
fn g9_idle_connections_give_their_buffers_back_and_go_on_later() {
    let mut bench = Bench::new();
    bench.muxer.advance(bench.now);
    let streams: Vec<_> = (0..50).map(|guest| bench.open(2000 + guest)).collect();
    assert_eq!((holding(&bench), bench.muxer.deadline()), (0, None), "nothing went through yet");
    for round in 0..2 {
        bench.muxer.take_attention();
        for (id, ports) in &streams {
            bench.send_data(*ports, &[round; 60_000]);
            assert_eq!(bench.read(*id, 60_000), Got::Bytes(vec![round; 60_000]));
            assert_eq!(bench.write(*id, &[round; 60_000]), Ok(60_000));
        }
        assert!(bench.muxer.take_attention(), "the service has to come back");
        bench.drain();
        assert_eq!(holding(&bench), streams.len());
        assert!(idle(&mut bench, 60) <= 3);
        assert_eq!((holding(&bench), bench.muxer.deadline()), (0, None), "and nobody comes back for nothing");
    }
}

#[test]
fn bytes_that_nobody_reads_are_kept_and_wake_nobody() {
    let mut bench = Bench::new();
    bench.muxer.advance(bench.now);
    let (id, ports) = bench.open(1026);
    bench.send_data(ports, b"kept");
    assert!(idle(&mut bench, 3600) <= 3);
    bench.muxer.take_attention();
    assert_eq!(bench.read(id, 10), Got::Bytes(b"kept".to_vec()));
    assert!(bench.muxer.take_attention(), "now there is something to give back");
    idle(&mut bench, 60);
    assert_eq!(holding(&bench), 0);
}

#[test]
fn a_reset_that_finds_no_room_on_the_ring_gives_its_place_up_in_time() {
    let mut bench = Bench::new();
    let (id, ports) = bench.open(1026);
    bench.send_data(ports, b"unread");
    bench.release(id);
    bench.muxer.advance(bench.now);
    bench.muxer.advance(bench.now + Duration::from_secs(7));
    assert_eq!(bench.muxer.connections(), 1, "the ring may have room soon");
    bench.muxer.advance(bench.now + Duration::from_secs(9));
    assert_eq!((bench.ops(), bench.muxer.connections()), (vec![], 0));
    bench.send_data(ports, b"still there?");
    assert_eq!(bench.ops(), [Op::Rst], "a guest that comes back learns of it");
}
