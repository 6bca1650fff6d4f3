//! What a hostile or broken peer may send: the decoders never panic, never ask for more than their limits, and never take
//! one frame for another. Ids are those of the bad-input catalogue: A1 from the guest or host, A4 replies of the agent.

use lighter_protocol::wire::{
    MAX_MESSAGE, MAX_PAYLOAD, StreamFrame, WireError, decode, decode_stream, encode, encode_stream,
};
use lighter_protocol::{
    Boot, Event, GuestInfo, Hello, LogSource, Port, Publish, Published, Reply, Request, Shell, Transport,
};
use proptest::prelude::*;

fn framed(json: &str) -> Vec<u8> {
    let mut bytes = (json.len() as u32).to_le_bytes().to_vec();
    bytes.extend_from_slice(json.as_bytes());
    bytes
}

#[test]
fn a1_length_zero_is_an_error_and_not_a_message() {
    assert!(matches!(decode::<Request>(&[0, 0, 0, 0]), Err(WireError::Json(_))));
}

#[test]
fn a1_lengths_beyond_the_limit_are_refused_from_the_header_alone() {
    for length in [MAX_MESSAGE as u32 + 1, i32::MAX as u32, u32::MAX, (-1_i32) as u32] {
        assert!(matches!(decode::<Request>(&length.to_le_bytes()), Err(WireError::TooLong { .. })), "{length}");
    }
    for length in [MAX_PAYLOAD as u32 + 1, u32::MAX] {
        let mut bytes = vec![0];
        bytes.extend_from_slice(&length.to_le_bytes());
        assert!(matches!(decode_stream(&bytes), Err(WireError::TooLong { .. })), "{length}");
    }
}

#[test]
fn a1_a_partial_frame_stays_incomplete_at_every_cut() {
    let frame = encode(&Request::Info).unwrap();
    for cut in 0..frame.len() {
        assert!(decode::<Request>(&frame[..cut]).unwrap().is_none(), "{cut}");
    }
}

#[test]
fn a1_two_frames_glued_are_taken_one_by_one() {
    let mut bytes = encode(&Request::Info).unwrap();
    bytes.extend_from_slice(&encode(&Request::Shutdown { grace_seconds: 7 }).unwrap());
    let (first, taken) = decode::<Request>(&bytes).unwrap().unwrap();
    assert_eq!(first, Request::Info);
    let (second, rest) = decode::<Request>(&bytes[taken..]).unwrap().unwrap();
    assert_eq!(second, Request::Shutdown { grace_seconds: 7 });
    assert_eq!(taken + rest, bytes.len());
}

#[test]
fn a1_unknown_kinds_are_errors_and_unknown_fields_are_not() {
    assert!(decode::<Request>(&framed(r#"{"request":"format_host"}"#)).is_err());
    assert!(decode::<Request>(&framed(r#"{"event":"ready"}"#)).is_err());
    assert!(decode::<Request>(&framed(r#"{"request":"info","later":[1,2]}"#)).unwrap().is_some());
    assert!(decode_stream(&[9, 0, 0, 0, 0]).is_err());
    assert!(decode_stream(&[3, 3, 0, 0, 0, 1, 2, 3]).is_err(), "a size of three bytes");
}

#[test]
fn a1_deep_nesting_is_an_error_and_not_a_stack_overflow() {
    let json = format!("{{\"request\":\"info\",\"x\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    assert!(decode::<Request>(&framed(&json)).is_err());
}

#[test]
fn a1_numbers_out_of_range_are_errors() {
    for grace in ["-1", "4294967296", "1e30", "\"5\"", "null"] {
        let json = format!(r#"{{"request":"shutdown","grace_seconds":{grace}}}"#);
        assert!(decode::<Request>(&framed(&json)).is_err(), "{grace}");
    }
}

#[test]
fn a4_a_reply_that_does_not_fit_is_refused_before_it_is_sent() {
    let reply = Reply::Error { message: "x".repeat(MAX_MESSAGE) };
    assert!(matches!(encode(&reply), Err(WireError::TooLong { .. })));
    let output = StreamFrame::Stdout(vec![0; MAX_PAYLOAD + 1]);
    assert!(matches!(encode_stream(&output), Err(WireError::TooLong { .. })));
}

#[test]
fn a_boot_frame_without_word_of_the_disk_does_not_call_it_blank() {
    let json = r#"{"version":1,"unix_seconds":1,"unix_nanos":2,"hostname":"h"}"#;
    let (boot, _) = decode::<Boot>(&framed(json)).unwrap().unwrap();
    assert!(!boot.data_disk_blank);
}

#[test]
fn h11_ports_that_are_none_are_no_message() {
    let port = |host_ip: &str, number: &str| {
        let json = format!(
            r#"{{"protocol":"udp","host_ip":"{host_ip}","host_port":{number},"container_ip":"::1","container_port":1}}"#
        );
        decode::<Port>(&framed(&json)).is_ok()
    };
    assert!(port("0.0.0.0", "0") && port("::", "65535"));
    for (host_ip, number) in [("::", "65536"), ("::", "-1"), ("::", "1.5"), ("fe80::1%eth0", "1"), ("localhost", "1")] {
        assert!(!port(host_ip, number), "{host_ip} {number}");
    }
    assert!(decode::<Published>(&framed(r#"{"published":"perhaps"}"#)).is_err());
}

fn publishes() -> impl Strategy<Value = Publish> {
    let protocol = prop_oneof![Just(Transport::Tcp), Just(Transport::Udp), Just(Transport::Sctp)];
    let ends = any::<(std::net::IpAddr, u16, std::net::IpAddr, u16)>();
    (".*", protocol, ends).prop_map(|(secret, protocol, (host_ip, host_port, container_ip, container_port))| Publish {
        secret,
        port: Port { protocol, host_ip, host_port, container_ip, container_port },
    })
}

fn requests() -> impl Strategy<Value = Request> {
    let shell = (
        prop::collection::vec(".*", 0..4),
        prop::option::of(any::<(u16, u16)>()),
        prop::collection::vec((".*", ".*"), 0..3),
    );
    prop_oneof![
        Just(Request::Info),
        shell.prop_map(|(command, tty, env)| Request::Shell(Shell { command, tty, env })),
        (any::<bool>(), prop::option::of(any::<u32>())).prop_map(|(follow, tail)| Request::Logs {
            source: LogSource::Kernel,
            follow,
            tail
        }),
        any::<(u64, u32)>().prop_map(|(unix_seconds, unix_nanos)| Request::SetTime { unix_seconds, unix_nanos }),
        any::<u32>().prop_map(|grace_seconds| Request::Shutdown { grace_seconds }),
    ]
}

fn stream_frames() -> impl Strategy<Value = StreamFrame> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..2000).prop_map(StreamFrame::Stdin),
        prop::collection::vec(any::<u8>(), 0..2000).prop_map(StreamFrame::Stdout),
        prop::collection::vec(any::<u8>(), 0..2000).prop_map(StreamFrame::Stderr),
        any::<(u16, u16)>().prop_map(|(columns, rows)| StreamFrame::Resize(columns, rows)),
        any::<i32>().prop_map(StreamFrame::Exit),
    ]
}

proptest! {
    #[test]
    fn a1_random_bytes_never_panic_nor_claim_more_than_they_are(bytes in prop::collection::vec(any::<u8>(), 0..4096)) {
        if let Ok(Some((_, taken))) = decode::<Request>(&bytes) {
            prop_assert!(taken <= bytes.len());
        }
        if let Ok(Some((_, taken))) = decode_stream(&bytes) {
            prop_assert!(taken <= bytes.len());
        }
    }

    #[test]
    fn a4_random_json_never_panics_as_any_message_of_the_agent(json in ".{0,400}") {
        let bytes = framed(&json);
        let _ = (decode::<Reply>(&bytes).is_ok(), decode::<Event>(&bytes).is_ok(), decode::<Hello>(&bytes).is_ok());
    }

    #[test]
    fn a4_flipping_one_byte_of_a_reply_never_panics(at in 0_usize..100, value in any::<u8>()) {
        let mut bytes = encode(&Reply::Info(GuestInfo { kernel: "6.12".into(), ..GuestInfo::default() })).unwrap();
        let at = at % bytes.len();
        bytes[at] = value;
        if let Ok(Some((_, taken))) = decode::<Reply>(&bytes) {
            prop_assert!(taken <= bytes.len());
        }
    }

    #[test]
    fn every_request_comes_back_as_it_was(request in requests()) {
        let bytes = encode(&request).unwrap();
        let (back, taken) = decode::<Request>(&bytes).unwrap().unwrap();
        prop_assert_eq!(back, request);
        prop_assert_eq!(taken, bytes.len());
    }

    #[test]
    fn every_port_comes_back_as_it_was(publish in publishes(), message in ".*") {
        let bytes = encode(&publish).unwrap();
        prop_assert_eq!(decode::<Publish>(&bytes).unwrap().unwrap(), (publish, bytes.len()));
        let refused = Published::Refused { message };
        let bytes = encode(&refused).unwrap();
        prop_assert_eq!(decode::<Published>(&bytes).unwrap().unwrap(), (refused, bytes.len()));
    }

    #[test]
    fn a4_random_json_never_panics_as_a_port(json in ".{0,400}") {
        let bytes = framed(&json);
        let _ = (decode::<Port>(&bytes).is_ok(), decode::<Publish>(&bytes).is_ok(), decode::<Published>(&bytes).is_ok());
    }

    #[test]
    fn every_stream_frame_comes_back_and_leaves_the_next_one_alone(frame in stream_frames(), tail in any::<Vec<u8>>()) {
        let mut bytes = encode_stream(&frame).unwrap();
        let length = bytes.len();
        bytes.extend_from_slice(&tail);
        prop_assert_eq!(decode_stream(&bytes).unwrap().unwrap(), (frame, length));
    }
}
