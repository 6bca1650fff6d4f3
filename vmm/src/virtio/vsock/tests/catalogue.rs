//! The vsock part of the bad-input catalogue, V1 to V14, against the muxer: nothing panics, nothing grows without bound, and
//! what is refused is refused by at most one RST.

use std::task::Waker;

use super::bench::{Bench, Got, op};
use crate::virtio::vsock::connection::{End, TX_LIMIT};
use crate::virtio::vsock::credit::WINDOW;
use crate::virtio::vsock::muxer::{MAX_BACKLOG, MAX_FROM_GUEST};
use crate::virtio::vsock::packet::{HEADER_LEN, Header, Op, SHUTDOWN_BOTH, SHUTDOWN_SEND};
use crate::virtio::vsock::strays::MAX_STRAY_RESETS;

#[test]
fn v1_unknown_operations_are_refused() {
    for raw in [0, 8, 0xFFFF] {
        let mut bench = Bench::new();
        bench.inject(bench.header(9, 9, raw), &[]);
        assert_eq!(bench.ops(), [Op::Rst], "operation {raw} without a connection");
        let (id, ports) = bench.open(1026);
        bench.inject(bench.header(ports.0, ports.1, raw), &[]);
        assert_eq!(bench.ops(), [Op::Rst], "operation {raw} on a connection");
        assert_eq!(bench.read(id, 1), Got::Reset);
    }
}

#[test]
fn v2_other_socket_types_are_refused_in_kind_and_touch_no_stream() {
    let mut bench = Bench::new();
    let (id, ports) = bench.open(1026);
    for kind in [0, 2, 3, 0xFFFF] {
        bench.inject(Header { kind, ..bench.header(ports.0, ports.1, Op::Rst as u16) }, &[]);
        bench.inject(Header { kind, len: 1, ..bench.header(ports.0, ports.1, Op::Rw as u16) }, b"x");
        let sent = bench.drain();
        assert_eq!((sent.len(), op(&sent[0].0), sent[0].0.kind), (1, Op::Rst, kind));
    }
    assert_eq!(bench.read(id, 1), Got::Wait);
}

#[test]
fn v3_lengths_that_lie_reset_and_an_empty_packet_is_no_offence() {
    for (len, real) in [(5, 4), (0xFFFF_FFFF, 4), (WINDOW + 1, WINDOW as usize + 1)] {
        let mut bench = Bench::new();
        let (id, ports) = bench.open(1026);
        bench.inject(Header { len: 0, ..bench.header(ports.0, ports.1, Op::Rw as u16) }, b"unannounced");
        assert_eq!((bench.ops(), bench.read(id, 1)), (vec![], Got::Wait));
        bench.inject(Header { len, ..bench.header(ports.0, ports.1, Op::Rw as u16) }, &vec![0; real]);
        assert_eq!((bench.ops(), bench.read(id, 1)), (vec![Op::Rst], Got::Reset), "len {len}");
    }
}

#[test]
fn v3_a_whole_window_in_one_packet_is_allowed_and_one_byte_more_is_not() {
    let mut bench = Bench::new();
    let (id, ports) = bench.open(1026);
    bench.send_data(ports, &vec![7; WINDOW as usize]);
    bench.send_data(ports, b"!");
    assert_eq!(bench.ops(), [Op::Rst]);
    assert_eq!(bench.read(id, usize::MAX), Got::Bytes(vec![7; WINDOW as usize]), "what was in order is delivered");
    assert_eq!(bench.read(id, 1), Got::Reset);
}

#[test]
fn v4_foreign_context_ids_are_refused_and_answered_to_our_guest_only() {
    let mut bench = Bench::new();
    let (id, ports) = bench.open(1026);
    let fair = bench.header(ports.0, ports.1, Op::Rst as u16);
    let high = 1 << 32;
    for src_cid in [0, 1, 2, 4, u64::MAX, fair.src_cid | high] {
        bench.inject(Header { src_cid, op: Op::Rw as u16, ..fair }, &[]);
        bench.inject(Header { src_cid, ..fair }, &[]);
    }
    for dst_cid in [0, 1, 3, u64::from(u32::MAX), u64::MAX, fair.dst_cid | high] {
        bench.inject(Header { dst_cid, op: Op::Request as u16, ..fair }, &[]);
        bench.inject(Header { dst_cid, ..fair }, &[]);
    }
    let sent = bench.drain();
    assert_eq!(sent.len(), 12);
    assert!(sent.iter().all(|(header, _)| op(header) == Op::Rst && header.dst_cid == fair.src_cid));
    assert_eq!(bench.read(id, 1), Got::Wait, "none of them reached the connection");
}

#[test]
fn v5_data_without_an_open_direction_is_reset() {
    let mut bench = Bench::new();
    bench.send_data((5, 6), b"x");
    assert_eq!(bench.ops(), [Op::Rst], "unknown");

    let (id, ports) = bench.open(1026);
    bench.send_shutdown(ports, SHUTDOWN_SEND);
    bench.send_data(ports, b"x");
    assert_eq!(bench.ops(), [Op::Rst], "after its own SHUTDOWN(SEND)");
    assert_eq!(bench.read(id, 1), Got::Eof, "its end came before its offence");
    bench.send_data(ports, b"x");
    assert_eq!(bench.ops(), [Op::Rst], "closed");

    let id = bench.muxer.connect(7).expect("there is room");
    let (request, _) = bench.next_into(HEADER_LEN).expect("a request is due");
    bench.send_data((request.src_port, 7), b"early");
    assert_eq!(bench.ops(), [Op::Rst], "before its RESPONSE");
    assert_eq!(bench.muxer.poll_connected(id, Waker::noop()), Some(Err(End::Reset)));
}

#[test]
fn v6_a_second_request_for_the_same_ports_resets_the_first() {
    let mut bench = Bench::new();
    let token = bench.muxer.listen(1024);
    bench.send((1024, 50), Op::Request);
    assert_eq!(bench.ops(), [Op::Response]);
    let id = bench.muxer.accept(1024, token, Waker::noop()).flatten().expect("one waits");
    bench.send((1024, 50), Op::Request);
    assert_eq!(bench.ops(), [Op::Rst]);
    assert_eq!(bench.read(id, 1), Got::Reset);
    bench.send((1024, 50), Op::Request);
    assert_eq!(bench.ops(), [Op::Response], "and a third is new");
}

#[test]
fn v6_ports_are_free_again_right_after_the_last_packet() {
    let mut bench = Bench::new();
    let token = bench.muxer.listen(1024);
    bench.send((1024, 50), Op::Request);
    bench.send_shutdown((1024, 50), SHUTDOWN_BOTH);
    assert_eq!(bench.ops(), [Op::Rst], "closed before it was accepted");
    bench.send((1024, 50), Op::Request);
    assert_eq!(bench.ops(), [Op::Response]);
    let id = bench.muxer.accept(1024, token, Waker::noop()).flatten().expect("only the second waits");
    bench.release(id);
    assert_eq!(bench.ops(), [Op::Shutdown]);
    // Linux forgets the socket when it has both bits, before its program closes it: the pair may come again without an RST.
    bench.send((1024, 50), Op::Request);
    assert_eq!(bench.ops(), [Op::Response]);
    assert_eq!(bench.muxer.connections(), 1);
}

#[test]
fn v6_dials_never_reuse_a_host_port_soon() {
    let mut bench = Bench::new();
    let mut seen = std::collections::HashSet::new();
    for _ in 0..10_000 {
        let (id, ports) = bench.open(1026);
        assert!(seen.insert(ports.0));
        bench.send(ports, Op::Rst);
        bench.release(id);
    }
    assert_eq!(bench.muxer.connections(), 0);
}

#[test]
fn v7_a_shrunk_or_empty_buffer_stops_us_and_a_grown_one_lets_us_go_on() {
    let mut bench = Bench::new();
    let (id, ports) = bench.open(1026);
    bench.buf_alloc = 0;
    bench.send(ports, Op::CreditUpdate);
    assert_eq!(bench.write(id, &[1; 100]), Ok(100));
    assert_eq!(bench.ops(), [Op::CreditRequest]);
    for _ in 0..10 {
        bench.send(ports, Op::CreditUpdate);
        assert_eq!(bench.ops(), [], "still nothing: we do not ask again");
    }
    bench.buf_alloc = 60;
    bench.send(ports, Op::CreditUpdate);
    let sent = bench.drain();
    assert_eq!((sent[0].1.len(), op(&sent[1].0)), (60, Op::CreditRequest));
    bench.buf_alloc = 10;
    let lie = Header { fwd_cnt: 61, ..bench.header(ports.0, ports.1, Op::CreditUpdate as u16) };
    bench.inject(lie, &[]);
    assert_eq!(bench.ops(), [], "taken more than was sent: a lie");
    bench.buf_alloc = u32::MAX;
    bench.send(ports, Op::CreditUpdate);
    assert_eq!(bench.drain()[0].1.len(), 40);
}

#[test]
fn v8_a_starving_connection_costs_the_others_nothing() {
    let mut bench = Bench::new();
    bench.buf_alloc = 10;
    let (starved, _) = bench.open(1);
    bench.buf_alloc = WINDOW;
    let others: Vec<_> = (0..1000).map(|port| bench.open(2 + port)).collect();
    let full = vec![0; TX_LIMIT];
    assert_eq!(bench.write(starved, &full), Ok(TX_LIMIT));
    assert_eq!(bench.write(starved, b"x"), Err(Got::Wait), "its writer waits, bounded");
    let data = vec![9; 10_000];
    others.iter().for_each(|(id, _)| assert_eq!(bench.write(*id, &data), Ok(data.len())));
    let sent = bench.drain();
    let mut bytes = std::collections::HashMap::new();
    for (place, (header, payload)) in sent.iter().enumerate() {
        if op(header) == Op::Rw {
            let (count, total) = bytes.entry(header.dst_port).or_insert((0, 0));
            (*count, *total) = (*count + 1, *total + payload.len());
            assert!(place / 1002 <= *count, "one packet each before anybody's second");
        }
    }
    assert_eq!(bytes.remove(&1), Some((1, 10)));
    assert!(bytes.len() == 1000 && bytes.values().all(|(_, total)| *total == data.len()));
}

#[test]
fn v9_buffers_too_small_for_payload_carry_control_and_lose_nothing() {
    let mut bench = Bench::new();
    let (id, ports) = bench.open(1026);
    assert_eq!(bench.write(id, b"data"), Ok(4));
    for size in [0, 1, HEADER_LEN - 1, HEADER_LEN] {
        assert_eq!(bench.next_into(size), None, "{size} bytes");
        assert!(bench.muxer.has_output());
    }
    bench.send(ports, Op::CreditRequest);
    assert_eq!(bench.next_into(HEADER_LEN).map(|(header, _)| op(&header)), Some(Op::CreditUpdate));
    let rest: Vec<u8> = std::iter::from_fn(|| bench.next_into(HEADER_LEN + 1)).flat_map(|(_, bytes)| bytes).collect();
    assert_eq!(rest, b"data", "byte by byte if need be");
}

#[test]
fn v10_storms_are_not_amplified() {
    let mut bench = Bench::new();
    let (id, ports) = bench.open(1026);
    for _ in 0..100_000 {
        bench.send((3, 4), Op::Rst);
        bench.send(ports, Op::CreditRequest);
    }
    assert_eq!(bench.ops(), [Op::CreditUpdate]);
    assert_eq!(bench.read(id, 1), Got::Wait);
}

#[test]
fn v11_a_hundred_thousand_requests_are_bounded() {
    let mut bench = Bench::new();
    let token = bench.muxer.listen(1024);
    for port in 0..100_000 {
        bench.send((1024, port), Op::Request);
    }
    assert_eq!(bench.muxer.connections(), MAX_BACKLOG);
    let ops = bench.ops();
    assert_eq!(ops.iter().filter(|op| **op == Op::Response).count(), MAX_BACKLOG);
    assert_eq!(ops.iter().filter(|op| **op == Op::Rst).count(), MAX_STRAY_RESETS);
    assert!(ops[..4].contains(&Op::Response) && ops[..4].contains(&Op::Rst), "refusals do not hold connections up");

    let mut held = Vec::new();
    for port in 0..10_000 {
        bench.send((1024, 200_000 + port), Op::Request);
        held.extend(bench.muxer.accept(1024, token, Waker::noop()).flatten());
    }
    assert_eq!(bench.muxer.connections(), MAX_FROM_GUEST, "even if the host side accepts them all");
    bench.drain();
    bench.open(1026);
}

#[test]
fn v11_requests_and_resets_without_receive_buffers_leave_nothing_behind() {
    let mut bench = Bench::new();
    let _incoming = bench.muxer.listen(1024);
    let (id, _) = bench.open(1026);
    assert_eq!(bench.write(id, b"first in the queue, and it stays there"), Ok(38));
    for port in 0..10_000 {
        bench.send((1024, port), Op::Request);
        bench.send((1024, port), Op::Rst);
    }
    assert_eq!(bench.muxer.connections(), 1);
    assert!(bench.muxer.ready() < 100, "{} names of the dead", bench.muxer.ready());
}

#[test]
fn v12_answers_without_a_question_are_refused() {
    let mut bench = Bench::new();
    bench.send((1 << 30, 1026), Op::Response);
    assert_eq!(bench.ops(), [Op::Rst], "nobody dialled");
    let id = bench.muxer.connect(1026).expect("there is room");
    bench.send(((1 << 30), 1026), Op::Response);
    assert_eq!(bench.muxer.poll_connected(id, Waker::noop()), None, "the question is not on the ring yet");
    let ops = bench.ops();
    assert!(ops.len() == 2 && ops.contains(&Op::Rst) && ops.contains(&Op::Request));
    bench.send(((1 << 30), 1026), Op::Response);
    bench.send(((1 << 30), 1026), Op::Response);
    assert_eq!(bench.ops(), [Op::Rst], "answered twice");
    assert_eq!(bench.read(id, 1), Got::Reset);
}

#[test]
fn v12_shutdown_flags_add_up_and_may_repeat() {
    let mut bench = Bench::new();
    let (id, ports) = bench.open(1026);
    bench.send_shutdown(ports, 0);
    bench.send_shutdown(ports, 0xFFFF_FFFC);
    assert_eq!((bench.ops(), bench.read(id, 1)), (vec![], Got::Wait), "no known flag, no effect");
    bench.send_shutdown(ports, SHUTDOWN_SEND);
    bench.send_shutdown(ports, SHUTDOWN_SEND);
    assert_eq!((bench.ops(), bench.read(id, 1)), (vec![], Got::Eof));
    bench.send_shutdown(ports, SHUTDOWN_BOTH);
    bench.send_shutdown(ports, SHUTDOWN_BOTH);
    assert_eq!(bench.ops(), [Op::Rst], "one answer");
}

#[test]
fn v13_ports_without_a_listener_are_refused() {
    let mut bench = Bench::new();
    let token = bench.muxer.listen(1024);
    for port in [0, 1, 1023, 1025, 2375, 65_535, 1 << 30, u32::MAX] {
        bench.send((port, 50), Op::Request);
        assert_eq!(bench.ops(), [Op::Rst], "port {port}");
    }
    bench.muxer.unlisten(1024, token);
    bench.send((1024, 50), Op::Request);
    assert_eq!(bench.ops(), [Op::Rst], "no longer listened to");
    assert_eq!(bench.muxer.connections(), 0);
}

#[test]
fn v14_a_slow_reader_holds_the_guest_at_its_window_and_a_vanished_one_resets() {
    let mut bench = Bench::new();
    let (id, ports) = bench.open(1026);
    bench.send_data(ports, &vec![1; WINDOW as usize]);
    assert_eq!(bench.ops(), [], "no credit while nobody reads");
    assert_eq!(bench.read(id, WINDOW as usize / 2 - 1), Got::Bytes(vec![1; WINDOW as usize / 2 - 1]));
    assert_eq!(bench.ops(), []);
    assert_eq!(bench.read(id, 1), Got::Bytes(vec![1]));
    let sent = bench.drain();
    assert_eq!((sent.len(), op(&sent[0].0), sent[0].0.fwd_cnt), (1, Op::CreditUpdate, WINDOW / 2));
    bench.release(id);
    assert_eq!(bench.ops(), [Op::Rst]);
}

#[test]
fn v14_a_driver_reset_ends_everything_but_dials_that_it_has_not_seen() {
    let mut bench = Bench::new();
    let (id, ports) = bench.open(1026);
    bench.send_data(ports, b"tail");
    let asked = bench.muxer.connect(7).expect("there is room");
    bench.drain();
    let unasked = bench.muxer.connect(8).expect("there is room");
    bench.send((99, 99), Op::Rw);
    bench.muxer.reset();
    assert_eq!(bench.read(id, 99), Got::Bytes(b"tail".to_vec()));
    assert_eq!(bench.read(id, 99), Got::Reset);
    assert_eq!(bench.write(id, b"x"), Err(Got::Reset));
    assert_eq!(bench.muxer.poll_connected(asked, Waker::noop()), Some(Err(End::Reset)));
    assert_eq!(bench.muxer.poll_connected(unasked, Waker::noop()), None);
    assert_eq!(bench.ops(), [Op::Request], "the next driver hears of the last dial only");
}
