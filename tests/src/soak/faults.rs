//! Faults of the real processes on both sides of the proxy while clients are there: who stands still and goes on has lost
//! nothing, and who is killed leaves nobody waiting. Called by `run`.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Barrier;
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use serde_json::Value;

use super::thousand;
use crate::bench::proxy::Rig;

/// How long the thousand clients are among themselves before, between and after the faults; the last of them comes after two.
const LEAD: Duration = Duration::from_secs(3);
/// The catalogue's own bound for the end of every stream of an engine that was killed.
const END: Duration = Duration::from_secs(1);
/// Who has no end after this time gets none.
const STUCK: Duration = Duration::from_secs(60);
/// How often the engine is killed, and how many streams of each kind it has then.
const KILLS: u32 = 10;
const STREAMS: usize = 20;

/// First the engine, then the daemon stands still for `pause` under a thousand clients, each of which compares its bytes.
pub fn x2_engine_and_daemon_stand_still_under_load(rig: &Rig, pause: Duration) -> Result<()> {
    let before = rig.descriptors()?;
    let faults = || -> Result<()> {
        sleep(LEAD);
        let engine = rig.engine_stands_still()?;
        let status: Value = serde_json::from_slice(&rig.cli(&["status", "--json"]).ok()?.stdout)?;
        ensure!(status["state"] == "running", "with an engine that stands still, the status is {status}");
        ensure!(engine.holds()?, "the engine did not stand still while the status was asked for");
        sleep(pause);
        drop(engine);
        sleep(LEAD);
        let daemon = rig.daemon_stands_still()?;
        sleep(pause);
        ensure!(daemon.holds()?, "the daemon did not stand still");
        Ok(())
    };
    let (report, faults) = scope(|scope| {
        let load = scope.spawn(|| thousand(rig, LEAD * 3 + pause * 2));
        let faults = faults();
        (load.join().map_err(|_| anyhow!("the load panicked")), faults)
    });
    faults?;
    let report = report??;
    // A new call, and nothing is left of the old ones.
    drop(lighter_meter::fresh(&rig.lighter, "/v1.45/containers/json", 1)?);
    rig.settle(before)?;
    println!("   engine and daemon stood still for {} s each under 1 000 clients: {report}", pause.as_secs());
    Ok(())
}

/// What a client of the engine that is killed is in the middle of.
const KINDS: [(&str, &str); 4] = [
    // Idle, as a shell that nobody types into.
    ("exec", "POST /v1.45/exec/e1/start HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n"),
    // Both directions in use.
    ("attach", "POST /v1.45/containers/c/attach HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n"),
    // Silent.
    ("events", "GET /v1.45/events HTTP/1.1\r\nHost: x\r\n\r\n"),
    // A line every now and then.
    ("logs", "GET /v1.45/containers/c/logs?follow=1&stdout=1 HTTP/1.1\r\nHost: x\r\n\r\n"),
];

/// Each stream of an engine that is killed ends within the catalogue's second, none of them as if it were whole; then a call
/// is refused, and served once the engine is back.
pub fn x1_streams_of_a_killed_engine_end_and_new_calls_work_when_it_is_back(rig: &mut Rig) -> Result<()> {
    let before = rig.descriptors()?;
    let mut worst = Duration::ZERO;
    for kill in 0..KILLS {
        let socket = rig.lighter.clone();
        let all_are_open = Barrier::new(KINDS.len() * STREAMS + 1);
        let (killed, ends) = scope(|scope| {
            let clients: Vec<_> = (0..STREAMS)
                .flat_map(|_| KINDS)
                .map(|(kind, ask)| (kind, scope.spawn(|| stream(&socket, kind, ask, &all_are_open))))
                .collect();
            all_are_open.wait();
            // Not always at the same point of what they do.
            sleep(Duration::from_millis(u64::from(kill * 7)));
            let killed = rig.kill_engine();
            let ends = clients.into_iter().map(|(kind, client)| (kind, client.join()));
            (killed, ends.collect::<Vec<_>>())
        });
        let killed = killed?;
        for (kind, end) in ends {
            let end = end.map_err(|_| anyhow!("a client panicked"))?.with_context(|| format!("a client of {kind}"))?;
            ensure!(end >= killed, "a client of {kind} lost its stream before the engine was killed");
            let late = end.saturating_duration_since(killed);
            ensure!(late <= END, "a client of {kind} heard of its engine's end after {} ms", late.as_millis());
            worst = worst.max(late);
        }
        let status = lighter_meter::Connection::open(&rig.lighter)?.get("/v1.45/containers/json")?;
        ensure!(status == 502 || status == 503, "a call to an engine that is not there was answered by {status}");
        rig.engine_again()?;
        drop(lighter_meter::fresh(&rig.lighter, "/v1.45/containers/json", 1)?);
        rig.settle(before)?;
    }
    let streams = KINDS.len() * STREAMS;
    println!("   engine killed {KILLS} times under {streams} streams: the last end after {} ms", worst.as_millis());
    Ok(())
}

/// One client of one stream, from its answer to its end; when that was.
fn stream(socket: &Path, kind: &str, ask: &str, all_are_open: &Barrier) -> Result<Instant> {
    let opened = open(socket, ask);
    // Who could not open it is still waited for.
    all_are_open.wait();
    let (mut stream, mut tail) = opened?;
    let mut block = [0; 4096];
    loop {
        if kind == "attach" && stream.write_all(&[b'x'; 1000]).is_err() {
            return Ok(Instant::now());
        }
        match stream.read(&mut block) {
            Ok(count @ 1..) => {
                tail.extend_from_slice(&block[..count]);
                tail.drain(..tail.len().saturating_sub(7));
            }
            Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {
                anyhow::bail!("no end within {} s", STUCK.as_secs());
            }
            // In order or not, it has ended.
            _ => break,
        }
    }
    let end = Instant::now();
    ensure!(
        kind == "attach" || kind == "exec" || !tail.ends_with(b"\r\n0\r\n\r\n"),
        "the answer ended as if it were whole"
    );
    Ok(end)
}

/// A stream behind the head of its answer, and what came after that.
fn open(socket: &Path, ask: &str) -> Result<(UnixStream, Vec<u8>)> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(STUCK))?;
    stream.set_write_timeout(Some(STUCK))?;
    stream.write_all(ask.as_bytes())?;
    let (mut got, mut block) = (Vec::new(), [0; 4096]);
    loop {
        let count = stream.read(&mut block)?;
        got.extend_from_slice(&block[..count]);
        if let Some(at) = got.windows(4).position(|window| window == b"\r\n\r\n") {
            let good = got.starts_with(b"HTTP/1.1 101 ") || got.starts_with(b"HTTP/1.1 200 ");
            ensure!(good, "the answer was {:?}", got.escape_ascii().to_string());
            return Ok((stream, got.split_off(at + 4)));
        }
        ensure!(count > 0, "no answer but {:?}", got.escape_ascii().to_string());
    }
}
