//! Long streams and bodies of every kind that the API has: whatever their length, the daemon keeps its size. Called by `run`.

use std::io;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use lighter_meter::bodies::{Framing, answer, upload};

use super::watched;
use crate::bench::proxy::Rig;

/// How far one of them may move the daemon's memory.
const MOST_KIB: u64 = 8 << 10;
/// Bytes of a hijacked stream.
const STREAM: u64 = 10_000_000_000;

type Way = fn(&Path, u64) -> io::Result<()>;

/// Hijacked streams, as `attach` has them.
const STREAMS: &[(&str, Way)] = &[
    ("a hijacked stream to the client", |socket, bytes| {
        lighter_meter::down(socket, &format!("/stand-in/source/{bytes}"), bytes).map(drop)
    }),
    ("a hijacked stream to the engine", |socket, bytes| lighter_meter::up(socket, "/stand-in/sink", bytes).map(drop)),
];

/// Bodies of ordinary HTTP: `save` and `cp` out of a container, `load`, `import` and `cp` into one, which the docker CLI sends in chunks.
const BODIES: &[(&str, Way)] = &[
    ("an answer with a Content-Length", |socket, bytes| {
        answer(socket, &format!("/v1.45/stand-in/length/{bytes}"), Framing::Length, bytes)
    }),
    ("a chunked answer", |socket, bytes| {
        answer(socket, &format!("/v1.45/stand-in/chunked/{bytes}"), Framing::Chunked, bytes)
    }),
    ("a request with a Content-Length", |socket, bytes| upload(socket, "/v1.45/images/load", Framing::Length, bytes)),
    ("a chunked request", |socket, bytes| upload(socket, "/v1.45/images/load", Framing::Chunked, bytes)),
];

/// Each of them, the bodies of `bytes`.
pub fn h7_long_streams_and_bodies_move_no_memory(rig: &Rig, bytes: u64) -> Result<()> {
    let before = rig.private_kib()?;
    let ways = STREAMS.iter().map(|way| (way, STREAM)).chain(BODIES.iter().map(|way| (way, bytes)));
    for ((what, way), bytes) in ways {
        let gb = bytes / 1_000_000_000;
        let (_, peak) = watched(rig, || Ok(way(&rig.lighter, bytes)?)).with_context(|| format!("{gb} GB as {what}"))?;
        let moved = peak.saturating_sub(before);
        println!("   {gb} GB as {what} moved private memory by {moved} KiB");
        ensure!(moved < MOST_KIB, "{gb} GB as {what} moved private memory by {moved} KiB, the limit is {MOST_KIB}");
    }
    Ok(())
}
