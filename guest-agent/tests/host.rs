//! The event channel against a host that is played here: what an event may hold, and what comes after it.
#![allow(clippy::unwrap_used, reason = "a failed test says so")]

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use lighter_agent::host::{self, Host};
use lighter_protocol::engine::Certificates;
use lighter_protocol::wire::{self, MAX_MESSAGE};
use lighter_protocol::{Boot, EngineSettings, Event, Hello, VERSION};

/// An agent that was greeted, and the host's end of its channel.
fn greeted() -> (Host, UnixStream) {
    let (agent, mut ours) = UnixStream::pair().unwrap();
    ours.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let boot = Boot {
        version: VERSION,
        unix_seconds: 1,
        unix_nanos: 2,
        hostname: "guest".into(),
        data_disk_blank: false,
        network: None,
        folders: Vec::new(),
        engine: EngineSettings { certificate_frames: 2, ..EngineSettings::default() },
    };
    ours.write_all(&wire::encode(&boot).unwrap()).unwrap();
    for pem in ["one\n", "two\n"] {
        ours.write_all(&wire::encode(&Certificates { pem: pem.into() }).unwrap()).unwrap();
    }
    let (host, told) = host::greet(agent.into(), "secret".into()).unwrap();
    assert_eq!((told.boot, told.certificates.as_str()), (boot, "one\ntwo\n"));
    let hello: Hello = read(&mut ours);
    assert_eq!(hello, Hello { version: VERSION, secret: "secret".into() });
    (host, ours)
}

fn read<T: serde::de::DeserializeOwned>(stream: &mut UnixStream) -> T {
    let mut bytes = [0; 4].to_vec();
    stream.read_exact(&mut bytes).unwrap();
    let length = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) as usize;
    bytes.resize(4 + length, 0);
    stream.read_exact(&mut bytes[4..]).unwrap();
    wire::decode(&bytes).unwrap().unwrap().0
}

#[test]
fn a3_last_words_of_any_length_reach_the_host_cut_and_the_channel_lives_on() {
    let (host, mut ours) = greeted();
    // Control characters take six bytes each in JSON, others three in UTF-8: both would be too long for a message.
    let texts = ["\u{1}".repeat(MAX_MESSAGE), "\u{fffd}".repeat(MAX_MESSAGE), "x".repeat(MAX_MESSAGE * 4)];
    let reader = std::thread::spawn(move || {
        let events: Vec<Event> = (0..2 * texts.len() + 1).map(|_| read(&mut ours)).collect();
        (events, texts)
    });
    for text in ["\u{1}".repeat(MAX_MESSAGE), "\u{fffd}".repeat(MAX_MESSAGE), "x".repeat(MAX_MESSAGE * 4)] {
        host.report(&Event::EngineDown { reason: text.clone() });
        host.report(&Event::Failed { stage: "data".into(), reason: text });
    }
    host.report(&Event::Stopped);
    let (events, texts) = reader.join().unwrap();
    for (pair, whole) in events.chunks(2).zip(&texts) {
        let [Event::EngineDown { reason: one }, Event::Failed { stage, reason: two }] = pair else {
            panic!("{pair:?}")
        };
        assert_eq!((stage.as_str(), one), ("data", two));
        let begin = one.strip_suffix('…').unwrap();
        assert!(begin.len() > 10_000 && whole.starts_with(begin), "{} bytes", begin.len());
    }
    assert_eq!(events.last(), Some(&Event::Stopped));
}
