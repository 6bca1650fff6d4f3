//! Attached streams: hijacked with and without an upgrade, multiplexed and raw, with the end of standard input.

use anyhow::{Context, Result, ensure};
use serde_json::json;

use crate::case::cases;
use crate::frames::Outputs;
use crate::lab::{Lab, Length};

cases! { "attach":
    stdin_end_reaches_cat_with_upgrade, stdin_end_reaches_cat_without_upgrade, tty_is_raw, both_outputs, detach_keys, bad_detach_keys,
    stopped_container, paused_container, websocket, two_clients_see_the_same, client_leaves_and_the_container_stays, stdin_glued_to_the_request,
    odd_upgrade,
}

const UPGRADE: &[&str] = &["Connection: Upgrade", "Upgrade: tcp"];

fn stdin_end_reaches_cat(lab: &mut Lab, headers: &[&str], status: u16) -> Result<()> {
    let config = json!({ "Image": lab.image(), "Cmd": ["cat"], "OpenStdin": true, "StdinOnce": true, "AttachStdin": true, "HostConfig": { "NetworkMode": "none" } });
    let id = lab.create("cf-cat", &config)?;
    let mut ask = lab.post(&format!("/containers/{id}/attach?stream=1&stdin=1&stdout=1&stderr=1"));
    for header in headers {
        ask = ask.header(header);
    }
    let (_, mut wire) = ask.open(status)?;
    lab.post(&format!("/containers/{id}/start")).expect(204)?;
    wire.send(b"over there\n")?;
    wire.half_close()?;
    let outputs = Outputs::parse(&wire.rest()?)?;
    lab.note_bytes("stdout", &outputs.stdout);
    ensure!(outputs.stdout == b"over there\n" && outputs.stderr.is_empty(), "{outputs:?}");
    ensure!(lab.wait(&id)? == 0, "cat failed");
    Ok(())
}

fn stdin_end_reaches_cat_with_upgrade(lab: &mut Lab) -> Result<()> {
    stdin_end_reaches_cat(lab, UPGRADE, 101)
}

fn stdin_end_reaches_cat_without_upgrade(lab: &mut Lab) -> Result<()> {
    stdin_end_reaches_cat(lab, &[], 200)
}

fn tty_is_raw(lab: &mut Lab) -> Result<()> {
    let config = json!({ "Image": lab.image(), "Cmd": ["sh", "-c", "read word; echo got $word; exit 4"], "Tty": true, "OpenStdin": true, "HostConfig": { "NetworkMode": "none" } });
    let id = lab.create("cf-tty", &config)?;
    let ask = lab.post(&format!("/containers/{id}/attach?stream=1&stdin=1&stdout=1&stderr=1"));
    let (_, mut wire) = ask.header(UPGRADE[0]).header(UPGRADE[1]).open(101)?;
    lab.post(&format!("/containers/{id}/start")).expect(204)?;
    lab.post(&format!("/containers/{id}/resize?h=33&w=99")).expect(200)?;
    wire.send(b"bread\n")?;
    let seen = wire.rest()?;
    lab.note_bytes("tty", &seen);
    ensure!(seen == b"bread\r\ngot bread\r\n", "{:?}", seen.escape_ascii());
    ensure!(lab.wait(&id)? == 4, "another exit code");
    Ok(())
}

fn both_outputs(lab: &mut Lab) -> Result<()> {
    let id = lab.run("cf-both", "echo out; echo err >&2")?;
    lab.wait(&id)?;
    let reply = lab.post(&format!("/containers/{id}/attach?logs=1&stdout=1&stderr=1")).open(200)?;
    let mut wire = reply.1;
    let outputs = Outputs::parse(&wire.rest()?).context("the logs")?;
    lab.note_bytes("stdout", &outputs.stdout);
    lab.note_bytes("stderr", &outputs.stderr);
    ensure!(outputs == Outputs { stdout: b"out\n".to_vec(), stderr: b"err\n".to_vec() }, "{outputs:?}");
    Ok(())
}

/// A container that echoes what it reads, line by line.
fn echoing(lab: &mut Lab, name: &str, tty: bool) -> Result<String> {
    let config = json!({
        "Image": lab.image(), "Cmd": ["sh", "-c", "echo ready; while read word; do echo got $word; [ $word = end ] && exit 5; done"],
        "OpenStdin": true, "Tty": tty, "HostConfig": { "NetworkMode": "none" },
    });
    lab.create(name, &config)
}

const ALL: &str = "stream=1&stdin=1&stdout=1&stderr=1";

fn detach_keys(lab: &mut Lab) -> Result<()> {
    let id = echoing(lab, "cf-detach", true)?;
    let path = format!("/containers/{id}/attach?{ALL}&detachKeys=ctrl-a,d");
    let (_, mut wire) = lab.post(&path).header(UPGRADE[0]).header(UPGRADE[1]).open(101)?;
    lab.post(&format!("/containers/{id}/start")).expect(204)?;
    wire.until(b"ready\r\n")?;
    wire.send(b"\x01d")?;
    let rest = wire.rest()?;
    lab.note_bytes("tty", &rest);
    let state = lab.quiet("GET", &format!("/containers/{id}/json"), None, 200)?.json()?;
    ensure!(state["State"]["Running"] == true, "it ended with its client: {}", state["State"]);
    Ok(())
}

fn bad_detach_keys(lab: &mut Lab) -> Result<()> {
    let id = echoing(lab, "cf-badkeys", true)?;
    lab.post(&format!("/containers/{id}/attach?{ALL}&detachKeys=ctrl-odd")).expect(400).map(drop)
}

fn stopped_container(lab: &mut Lab) -> Result<()> {
    let id = echoing(lab, "cf-silent", false)?;
    // Nothing runs, so there is nothing to stream but the end.
    let (_, mut wire) = lab.post(&format!("/containers/{id}/attach?logs=1&stdout=1")).open(200)?;
    let rest = wire.rest()?;
    lab.note_bytes("stream", &rest);
    Ok(())
}

fn paused_container(lab: &mut Lab) -> Result<()> {
    let idler = lab.idler()?;
    lab.quiet("POST", &format!("/containers/{idler}/pause"), None, 204)?;
    let refused = lab.post(&format!("/containers/{idler}/attach?{ALL}")).expect(409);
    lab.quiet("POST", &format!("/containers/{idler}/unpause"), None, 204)?;
    refused.map(drop)
}

fn websocket(lab: &mut Lab) -> Result<()> {
    let id = echoing(lab, "cf-socket", true)?;
    let mut ask = lab.get(&format!("/containers/{id}/attach/ws?stream=1&stdout=1&stdin=1"));
    for header in [
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: bGlnaHRlcmxpZ2h0ZXI=",
        "Origin: http://docker",
    ] {
        ask = ask.header(header);
    }
    let (_, mut wire) = ask.open(101)?;
    lab.post(&format!("/containers/{id}/start")).expect(204)?;
    wire.until(b"ready\r\n")?;
    // One masked frame of text: the mask is zero, so the text is as it is.
    wire.send(b"\x81\x84\0\0\0\0end\n")?;
    wire.until(b"got end\r\n")?;
    ensure!(lab.wait(&id)? == 5, "another exit code");
    lab.note("< got end");
    Ok(())
}

fn two_clients_see_the_same(lab: &mut Lab) -> Result<()> {
    let id = echoing(lab, "cf-shared", false)?;
    let path = format!("/containers/{id}/attach?{ALL}");
    let (_, mut one) = lab.post(&path).header(UPGRADE[0]).header(UPGRADE[1]).open(101)?;
    let (_, mut two) = lab.post(&path).open(200)?;
    lab.post(&format!("/containers/{id}/start")).expect(204)?;
    let (mut first, mut second) = (Outputs::default(), Outputs::default());
    one.send(b"a\n")?;
    first.read_until(&mut one, b"got a\n")?;
    second.read_until(&mut two, b"got a\n")?;
    two.send(b"end\n")?;
    first.read_until(&mut one, b"got end\n")?;
    second.read_until(&mut two, b"got end\n")?;
    lab.note_bytes("first", &first.stdout);
    ensure!(first == second, "{first:?} and {second:?}");
    ensure!(one.rest()?.is_empty() && two.rest()?.is_empty(), "more came behind the end");
    Ok(())
}

fn client_leaves_and_the_container_stays(lab: &mut Lab) -> Result<()> {
    let id = echoing(lab, "cf-stays", false)?;
    let path = format!("/containers/{id}/attach?{ALL}");
    let (_, mut wire) = lab.post(&path).open(200)?;
    lab.post(&format!("/containers/{id}/start")).expect(204)?;
    Outputs::default().read_until(&mut wire, b"ready\n")?;
    drop(wire);
    let (_, mut wire) = lab.post(&path).open(200)?;
    wire.send(b"end\n")?;
    let outputs = Outputs::parse(&wire.rest()?)?;
    lab.note_bytes("stdout", &outputs.stdout);
    ensure!(lab.wait(&id)? == 5, "it did not live on");
    Ok(())
}

fn stdin_glued_to_the_request(lab: &mut Lab) -> Result<()> {
    let config = json!({ "Image": lab.image(), "Cmd": ["cat"], "OpenStdin": true, "StdinOnce": true, "HostConfig": { "NetworkMode": "none" } });
    let id = lab.create("cf-glued", &config)?;
    let mut wire = lab.connect()?;
    let head = format!(
        "POST /v1.45/containers/{id}/attach?{ALL} HTTP/1.1\r\nHost: docker\r\n{}\r\n{}\r\n\r\n",
        UPGRADE[0], UPGRADE[1]
    );
    wire.send(format!("{head}ahead of the answer\n").as_bytes())?;
    let head = crate::reply::Head::read(&mut wire)?;
    lab.note_head(&head, Length::Exact);
    ensure!(head.status == 101, "{}", head.line);
    lab.post(&format!("/containers/{id}/start")).expect(204)?;
    wire.half_close()?;
    let outputs = Outputs::parse(&wire.rest()?)?;
    lab.note_bytes("stdout", &outputs.stdout);
    // dockerd drops what it has read beyond the head when it takes the connection over; nothing else may come out.
    ensure!(matches!(outputs.stdout.as_slice(), b"ahead of the answer\n" | b""), "{outputs:?}");
    Ok(())
}

fn odd_upgrade(lab: &mut Lab) -> Result<()> {
    let id = echoing(lab, "cf-odd", false)?;
    // dockerd takes any word for "upgrade", and answers with its own.
    let (_, wire) =
        lab.post(&format!("/containers/{id}/attach?{ALL}")).header(UPGRADE[0]).header("Upgrade: anything").open(101)?;
    drop(wire);
    Ok(())
}
