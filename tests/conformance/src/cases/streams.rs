//! Logs, statistics, processes, events: what goes on for as long as somebody listens, and ends when the client leaves.

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use crate::ask::Show;
use crate::case::cases;
use crate::frames::Outputs;
use crate::lab::{Lab, filters, shape};
use crate::wire::Wire;

cases! { "streams":
    logs_in_every_form, logs_follow_ends_with_the_container, logs_of_a_tty_are_raw, logs_of_driver_none, logs_follow_ended_by_the_client,
    stats_once, stats_one_shot, stats_stream_ended_by_the_client, stats_of_a_stopped_container, top, top_with_arguments,
    top_of_a_stopped_container, events_since_a_time, events_of_the_past_end_at_once, events_live, events_live_ended_by_the_client, events_of_images_and_volumes,
}

/// Both outputs of a log, noted under a name.
fn logs(lab: &mut Lab, name: &str, query: &str) -> Result<Outputs> {
    let reply = lab.get(&format!("/containers/{name}/logs?{query}")).show(Show::Head).expect(200)?;
    let outputs = Outputs::parse(&reply.body)?;
    lab.note_bytes("stdout", &outputs.stdout);
    lab.note_bytes("stderr", &outputs.stderr);
    Ok(outputs)
}

fn logs_in_every_form(lab: &mut Lab) -> Result<()> {
    let id = lab.run("cf-logs", "echo one; echo two; echo three")?;
    lab.wait(&id)?;
    ensure!(logs(lab, "cf-logs", "stdout=1")?.stdout == b"one\ntwo\nthree\n", "stdout alone");
    ensure!(logs(lab, "cf-logs", "stderr=1")? == Outputs::default(), "stderr alone");
    ensure!(logs(lab, "cf-logs", "stdout=1&stderr=1&tail=2")?.stdout == b"two\nthree\n", "the last two");
    ensure!(logs(lab, "cf-logs", "stdout=1&stderr=1&tail=0")? == Outputs::default(), "no line at all");
    logs(lab, "cf-logs", "stdout=1&stderr=1&timestamps=1&details=1")?;
    ensure!(logs(lab, "cf-logs", "stdout=1&since=4000000000")? == Outputs::default(), "lines from the future");
    ensure!(logs(lab, "cf-logs", "stdout=1&until=1000000000")? == Outputs::default(), "lines from the past");
    lab.get("/containers/cf-logs/logs?stdout=1&since=never").expect(500)?;
    ensure!(logs(lab, "cf-logs", "stdout=1&follow=1")?.stdout == b"one\ntwo\nthree\n", "following a stopped container");
    Ok(())
}

fn logs_follow_ends_with_the_container(lab: &mut Lab) -> Result<()> {
    let id = lab.create("cf-follow", &interactive(lab, "echo begun; read word; echo $word"))?;
    let (_, mut stdin) = lab.post(&format!("/containers/{id}/attach?stream=1&stdin=1")).open(200)?;
    lab.post(&format!("/containers/{id}/start")).expect(204)?;
    let (head, mut wire) = lab.get(&format!("/containers/{id}/logs?follow=1&stdout=1")).open(200)?;
    ensure!(head.field("transfer-encoding") == Some("chunked"), "{head:?}");
    let mut outputs = Outputs::default();
    let mut bytes = Vec::new();
    let mut told = false;
    while let Some(chunk) = wire.chunk()? {
        bytes.extend_from_slice(&chunk);
        if !told && bytes.ends_with(b"begun\n") {
            stdin.send(b"enough\n")?;
            told = true;
        }
    }
    outputs.stdout = Outputs::parse(&bytes)?.stdout;
    lab.note_bytes("stdout", &outputs.stdout);
    ensure!(outputs.stdout == b"begun\nenough\n", "{outputs:?}");
    Ok(())
}

/// A container that reads its input.
fn interactive(lab: &Lab, script: &str) -> Value {
    json!({ "Image": lab.image(), "Cmd": ["sh", "-c", script], "OpenStdin": true, "HostConfig": { "NetworkMode": "none" } })
}

fn logs_of_a_tty_are_raw(lab: &mut Lab) -> Result<()> {
    let config =
        json!({ "Image": lab.image(), "Cmd": ["echo", "raw"], "Tty": true, "HostConfig": { "NetworkMode": "none" } });
    let id = lab.run_with("cf-ttylog", &config)?;
    lab.wait(&id)?;
    let reply = lab.get("/containers/cf-ttylog/logs?stdout=1&stderr=1").expect(200)?;
    ensure!(reply.body == b"raw\r\n", "{:?}", reply.text());
    Ok(())
}

fn logs_of_driver_none(lab: &mut Lab) -> Result<()> {
    let config = json!({ "Image": lab.image(), "Cmd": ["true"], "HostConfig": { "LogConfig": { "Type": "none" } } });
    lab.create("cf-nolog", &config)?;
    lab.get("/containers/cf-nolog/logs?stdout=1").expect(501).map(drop)
}

/// Reads chunks until one satisfies `enough`.
fn chunks(wire: &mut Wire, enough: impl Fn(&[u8]) -> bool) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    while !enough(&bytes) {
        match wire.chunk()? {
            Some(chunk) => bytes.extend_from_slice(&chunk),
            None => bail!("the stream ended: {:?}", bytes.escape_ascii()),
        }
    }
    Ok(bytes)
}

fn logs_follow_ended_by_the_client(lab: &mut Lab) -> Result<()> {
    let idler = lab.idler()?;
    // The idler says nothing, so all there is to see is that the stream stays open and may be left.
    let (head, wire) = lab.get(&format!("/containers/{idler}/logs?follow=1&stdout=1&stderr=1")).open(200)?;
    ensure!(head.field("transfer-encoding") == Some("chunked"), "{head:?}");
    drop(wire);
    lab.get("=/_ping").expect(200).map(drop)
}

/// Notes the keys and types of a sample. What a container has read from disks depends on what others have read before it.
fn note_sample(lab: &mut Lab, sample: &Value) {
    let mut sample = sample.clone();
    sample["blkio_stats"] = Value::Null;
    lab.note(&format!("< {}", shape(&sample)));
}

fn stats_once(lab: &mut Lab) -> Result<()> {
    let idler = lab.idler()?;
    let sample = lab.get(&format!("/containers/{idler}/stats?stream=0")).show(Show::Head).expect(200)?.json()?;
    note_sample(lab, &sample);
    ensure!(sample["memory_stats"]["usage"].as_u64() > Some(0), "no memory in use: {sample}");
    Ok(())
}

fn stats_one_shot(lab: &mut Lab) -> Result<()> {
    let idler = lab.idler()?;
    for path in
        [format!("/containers/{idler}/stats?stream=0&one-shot=1"), format!("/v1.24/containers/{idler}/stats?stream=0")]
    {
        let sample = lab.get(&path).show(Show::Head).expect(200)?.json()?;
        note_sample(lab, &sample);
    }
    Ok(())
}

fn stats_stream_ended_by_the_client(lab: &mut Lab) -> Result<()> {
    let idler = lab.idler()?;
    let (_, mut wire) = lab.get(&format!("/containers/{idler}/stats")).open(200)?;
    let bytes = chunks(&mut wire, |bytes| bytes.iter().filter(|byte| **byte == b'\n').count() >= 2)?;
    let second: Value = serde_json::from_slice(bytes.split(|byte| *byte == b'\n').nth(1).context("two samples")?)?;
    note_sample(lab, &second);
    Ok(())
}

fn stats_of_a_stopped_container(lab: &mut Lab) -> Result<()> {
    let config = json!({ "Image": lab.image(), "Cmd": ["true"] });
    lab.create("cf-unstarted", &config)?;
    lab.get("/containers/cf-unstarted/stats?stream=0").expect(200).map(drop)
}

fn top(lab: &mut Lab) -> Result<()> {
    let idler = lab.idler()?;
    let reply = lab.get(&format!("/containers/{idler}/top")).show(Show::Shape).expect(200)?.json()?;
    ensure!(reply["Processes"].as_array().is_some_and(|list| !list.is_empty()), "no processes: {reply}");
    Ok(())
}

fn top_with_arguments(lab: &mut Lab) -> Result<()> {
    let idler = lab.idler()?;
    lab.get(&format!("/containers/{idler}/top?ps_args=-o%20pid,comm")).show(Show::Shape).expect(200).map(drop)
}

fn top_of_a_stopped_container(lab: &mut Lab) -> Result<()> {
    let config = json!({ "Image": lab.image(), "Cmd": ["true"] });
    lab.create("cf-topless", &config)?;
    lab.get("/containers/cf-topless/top").expect(409).map(drop)
}

fn events_since_a_time(lab: &mut Lab) -> Result<()> {
    let id =
        lab.create("cf-events", &json!({ "Image": lab.image(), "Cmd": ["true"], "Labels": { "cf-events": "1" } }))?;
    lab.quiet("POST", &format!("/containers/{id}/rename?name=cf-events-2"), None, 204)?;
    lab.quiet("DELETE", &format!("/containers/{id}"), None, 204)?;
    lab.hide(&id, "<container>");
    let wanted = filters(&json!({ "container": [id], "type": ["container"] }));
    // Without an end in the past the stream stays open behind what has already happened.
    let path = format!("/events?since=1&{wanted}");
    let (_, mut wire) = lab.get(&path).open(200)?;
    let bytes = chunks(&mut wire, |bytes| bytes.windows(9).any(|window| window == b"\"destroy\""))?;
    lab.note(&format!("< {}", String::from_utf8_lossy(&bytes)));
    Ok(())
}

fn events_of_the_past_end_at_once(lab: &mut Lab) -> Result<()> {
    let reply = lab.get("/events?since=1&until=2").expect(200)?;
    ensure!(reply.body.is_empty(), "an event from 1970: {}", reply.text());
    Ok(())
}

fn events_live(lab: &mut Lab) -> Result<()> {
    let wanted = filters(&json!({ "label": ["cf-live"], "event": ["create", "rename", "destroy"] }));
    let (_, mut wire) = lab.get(&format!("/events?{wanted}")).open(200)?;
    let config = json!({ "Image": lab.image(), "Cmd": ["true"], "Labels": { "cf-live": "1" } });
    let id = lab.create("cf-live", &config)?;
    lab.quiet("POST", &format!("/containers/{id}/rename?name=cf-live-2"), None, 204)?;
    lab.quiet("DELETE", &format!("/containers/{id}"), None, 204)?;
    let bytes = chunks(&mut wire, |bytes| bytes.windows(9).any(|window| window == b"\"destroy\""))?;
    lab.note(&format!("< {}", String::from_utf8_lossy(&bytes)));
    Ok(())
}

fn events_live_ended_by_the_client(lab: &mut Lab) -> Result<()> {
    let listeners = |lab: &mut Lab| -> Result<i64> {
        let info = lab.quiet("GET", "/info", None, 200)?.json()?;
        info["NEventsListener"].as_i64().context("no count of listeners")
    };
    let before = listeners(lab)?;
    let (_, wire) = lab.get("/events").open(200)?;
    ensure!(listeners(lab)? > before, "nobody listens");
    drop(wire);
    // The engine notices that its client has gone without writing to it.
    for _ in 0..1000 {
        if listeners(lab)? <= before {
            return Ok(());
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    bail!("the engine still serves a client that has gone")
}

fn events_of_images_and_volumes(lab: &mut Lab) -> Result<()> {
    let wanted = filters(&json!({ "type": ["volume", "image"] }));
    let (_, mut wire) = lab.get(&format!("/events?{wanted}")).open(200)?;
    let image = lab.image();
    lab.quiet("POST", &format!("/images/{image}/tag?repo=cf/event&tag=1"), None, 201)?;
    lab.quiet("DELETE", "/images/cf/event:1", None, 200)?;
    lab.quiet("POST", "/volumes/create", Some(&json!({ "Name": "cf-event" })), 201)?;
    lab.quiet("DELETE", "/volumes/cf-event", None, 204)?;
    let bytes = chunks(&mut wire, |bytes| bytes.windows(9).any(|window| window == b"\"destroy\""))?;
    lab.note(&format!("< {}", String::from_utf8_lossy(&bytes)));
    Ok(())
}
