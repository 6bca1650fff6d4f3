//! What the agent (or somebody in its place) sends: messages and stream frames. What is understood is printed and read
//! again to the same thing, and takes no more bytes than there are.
#![no_main]

use std::fmt::Debug;

use libfuzzer_sys::fuzz_target;
use lighter_protocol::wire::{MAX_MESSAGE, decode, decode_stream, encode, encode_stream};
use lighter_protocol::{Boot, Event, Hello, Port, Publish, Published, Reply, Request};
use serde::{Serialize, de::DeserializeOwned};

fn message<T: Serialize + DeserializeOwned + PartialEq + Debug>(bytes: &[u8]) {
    let Ok(Some((message, used))) = decode::<T>(bytes) else { return };
    assert!(used <= bytes.len() && used <= 4 + MAX_MESSAGE);
    // Printing escapes characters, so a message near the limit may not fit again.
    let Ok(again) = encode(&message) else { return };
    assert_eq!(decode::<T>(&again).expect("own words"), Some((message, again.len())));
}

fn messages(bytes: &[u8]) {
    message::<Hello>(bytes);
    message::<Boot>(bytes);
    message::<Event>(bytes);
    message::<Request>(bytes);
    message::<Reply>(bytes);
    message::<Port>(bytes);
    message::<Publish>(bytes);
    message::<Published>(bytes);
}

fuzz_target!(|bytes: &[u8]| {
    messages(bytes);
    // And with the right length in front, which is hard to guess.
    messages(&[&(bytes.len() as u32).to_le_bytes(), bytes].concat());
    let mut rest = bytes;
    while let Ok(Some((frame, used))) = decode_stream(rest) {
        assert_eq!(encode_stream(&frame).expect("short enough, as it was read"), rest[..used]);
        rest = &rest[used..];
    }
});
