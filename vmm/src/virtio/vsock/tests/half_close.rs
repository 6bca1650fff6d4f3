//! Each direction ends by itself, with data still in flight, whoever begins; and a connection leaves nothing behind.

use std::task::Waker;
use std::time::Duration;

use super::bench::{Bench, Got, op};
use crate::virtio::vsock::packet::{Op, SHUTDOWN_BOTH, SHUTDOWN_RCV, SHUTDOWN_SEND};

#[test]
fn host_half_close_follows_its_data_and_the_answer_still_comes_back() {
    // printf hi | docker run -i … cat
    let mut bench = Bench::new();
    let (id, ports) = bench.open(1026);
    assert_eq!(bench.write(id, b"hi"), Ok(2));
    bench.muxer.finish(id);
    let sent = bench.drain();
    assert_eq!(sent.len(), 2);
    assert_eq!((op(&sent[0].0), &sent[0].1[..]), (Op::Rw, &b"hi"[..]));
    assert_eq!((op(&sent[1].0), sent[1].0.flags), (Op::Shutdown, SHUTDOWN_SEND), "only our direction ends");
    assert_eq!(bench.write(id, b"more"), Err(Got::Eof));

    assert_eq!(bench.read(id, 10), Got::Wait, "the guest's direction is still open");
    bench.send_data(ports, b"hi");
    bench.send_shutdown(ports, SHUTDOWN_SEND);
    assert_eq!(bench.read(id, 10), Got::Bytes(b"hi".to_vec()));
    assert_eq!(bench.read(id, 10), Got::Eof);
    assert_eq!(bench.ops(), [], "nobody closed the socket yet");

    bench.release(id);
    let sent = bench.drain();
    assert_eq!((sent.len(), op(&sent[0].0), sent[0].0.flags), (1, Op::Shutdown, SHUTDOWN_BOTH));
    bench.send(ports, Op::Rst);
    assert_eq!(bench.muxer.connections(), 0);
}

#[test]
fn last_words_wait_for_whoever_accepts_after_the_guest_has_closed() {
    let mut bench = Bench::new();
    let token = bench.muxer.listen(1024);
    for guest in [50, 51] {
        bench.send((1024, guest), Op::Request);
        bench.send_data((1024, guest), b"last words");
        bench.send_shutdown((1024, guest), SHUTDOWN_BOTH);
        assert_eq!(bench.ops(), [Op::Rst]);
    }
    bench.muxer.reset();
    let id = bench.muxer.accept(1024, token, Waker::noop()).flatten().expect("two wait");
    assert_eq!(bench.read(id, 100), Got::Bytes(b"last words".to_vec()));
    assert_eq!(bench.read(id, 100), Got::Eof);
    bench.release(id);
    assert_eq!(bench.muxer.connections(), 1);
    bench.muxer.unlisten(1024, token);
    assert_eq!(bench.ops(), [], "its ports may be another's by now");
    assert_eq!(bench.muxer.connections(), 0);
}

#[test]
fn half_close_waits_for_data_that_waits_for_credit() {
    let mut bench = Bench::new();
    let (id, ports) = bench.open(1026);
    bench.buf_alloc = 3;
    bench.send(ports, Op::CreditUpdate);
    assert_eq!(bench.write(id, b"abcdef"), Ok(6));
    bench.muxer.finish(id);
    let sent = bench.drain();
    assert_eq!(sent[0].1, b"abc");
    assert_eq!(op(&sent[1].0), Op::CreditRequest);
    assert_eq!(sent.len(), 2, "no SHUTDOWN before the rest, and one CREDIT_REQUEST is enough");

    let mut update = bench.header(ports.0, ports.1, Op::CreditUpdate as u16);
    update.fwd_cnt = 3;
    bench.inject(update, &[]);
    let sent = bench.drain();
    assert_eq!(sent[0].1, b"def");
    assert_eq!((op(&sent[1].0), sent[1].0.flags), (Op::Shutdown, SHUTDOWN_SEND));
}

#[test]
fn guest_half_close_ends_reading_after_the_data_and_leaves_writing_open() {
    let mut bench = Bench::new();
    let (id, ports) = bench.open(1026);
    bench.send_data(ports, b"last words");
    bench.send_shutdown(ports, SHUTDOWN_SEND);
    assert_eq!(bench.read(id, 4), Got::Bytes(b"last".to_vec()));
    assert_eq!(bench.write(id, b"answer"), Ok(6));
    assert_eq!(bench.read(id, 99), Got::Bytes(b" words".to_vec()));
    assert_eq!(bench.read(id, 99), Got::Eof);
    assert_eq!(bench.drain()[0].1, b"answer");
    bench.muxer.finish(id);
    assert_eq!(bench.ops(), [Op::Shutdown]);
}

#[test]
fn guest_that_reads_no_more_fails_writes_and_leaves_reading_open() {
    let mut bench = Bench::new();
    let (id, ports) = bench.open(1026);
    assert_eq!(bench.write(id, b"lost"), Ok(4));
    bench.send_shutdown(ports, SHUTDOWN_RCV);
    assert_eq!(bench.write(id, b"x"), Err(Got::Eof));
    bench.send_data(ports, b"still here");
    assert_eq!(bench.read(id, 99), Got::Bytes(b"still here".to_vec()));
    assert_eq!(bench.read(id, 99), Got::Wait);
    assert_eq!(bench.ops(), [], "what the guest would throw away is not sent");
}

#[test]
fn guest_close_is_answered_by_rst_and_its_bytes_stay_readable() {
    for flags in [[SHUTDOWN_BOTH, 0], [SHUTDOWN_SEND, SHUTDOWN_RCV], [SHUTDOWN_RCV, SHUTDOWN_SEND]] {
        let mut bench = Bench::new();
        let (id, ports) = bench.open(1026);
        bench.send_data(ports, b"tail");
        flags.into_iter().for_each(|flags| bench.send_shutdown(ports, flags));
        assert_eq!(bench.ops(), [Op::Rst], "whoever has both bits answers RST: {flags:?}");
        bench.send_data(ports, b"after the end");
        assert_eq!(bench.ops(), [Op::Rst], "the connection is unknown by now");
        assert_eq!(bench.read(id, 99), Got::Bytes(b"tail".to_vec()));
        assert_eq!(bench.read(id, 99), Got::Eof);
        assert_eq!(bench.write(id, b"x"), Err(Got::Eof));
        bench.release(id);
        assert_eq!((bench.ops(), bench.muxer.connections()), (vec![], 0));
    }
}

#[test]
fn dropping_with_bytes_unread_resets_and_without_closes() {
    let mut bench = Bench::new();
    let (id, ports) = bench.open(1026);
    bench.send_data(ports, b"ignored");
    bench.release(id);
    assert_eq!(bench.ops(), [Op::Rst]);
    assert_eq!(bench.muxer.connections(), 0);

    let (id, ports) = bench.open(1026);
    assert_eq!(bench.write(id, b"bye"), Ok(3));
    bench.release(id);
    let sent = bench.drain();
    let ops: Vec<_> = sent.iter().map(|(header, _)| (op(header), header.flags)).collect();
    assert_eq!(ops, [(Op::Shutdown, SHUTDOWN_RCV), (Op::Rw, 0), (Op::Shutdown, SHUTDOWN_BOTH)]);
    bench.send_data(ports, b"crossing");
    bench.send_shutdown(ports, SHUTDOWN_BOTH);
    assert_eq!(bench.ops(), [Op::Rst], "two closes that cross: bytes in flight are no offence");
    assert_eq!(bench.muxer.connections(), 0);
}

#[test]
fn a_guest_that_never_answers_a_close_is_reset_in_time() {
    let mut bench = Bench::new();
    let (id, _) = bench.open(1026);
    bench.muxer.advance(bench.now);
    bench.release(id);
    assert_eq!(bench.ops(), [Op::Shutdown]);
    assert!(bench.muxer.deadline().is_some(), "somebody has to come back");
    bench.muxer.advance(bench.now + Duration::from_secs(7));
    assert_eq!((bench.ops(), bench.muxer.connections()), (vec![], 1));
    bench.muxer.advance(bench.now + Duration::from_secs(9));
    assert_eq!((bench.ops(), bench.muxer.connections()), (vec![Op::Rst], 0));
    assert_eq!(bench.muxer.deadline(), None);
}

#[test]
fn the_last_bytes_of_a_dropped_stream_wait_for_a_slow_guest_as_long_as_it_takes_some() {
    let mut bench = Bench::new();
    bench.buf_alloc = 1;
    let (id, ports) = bench.open(1026);
    assert_eq!(bench.write(id, b"slow"), Ok(4));
    bench.release(id);
    for taken in 1..4u32 {
        bench.now += Duration::from_secs(50);
        bench.muxer.advance(bench.now);
        assert!(bench.drain().iter().any(|(header, _)| op(header) == Op::Rw));
        let mut update = bench.header(ports.0, ports.1, Op::CreditUpdate as u16);
        update.fwd_cnt = taken;
        bench.inject(update, &[]);
    }
    let sent = bench.drain();
    assert_eq!((&sent[0].1[..], sent[1].0.flags), (&b"w"[..], SHUTDOWN_BOTH));
}
