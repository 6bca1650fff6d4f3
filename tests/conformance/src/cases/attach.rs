//! Attached streams: hijacked with and without an upgrade, multiplexed and raw, with the end of standard input.

use anyhow::{Context, Result, ensure};
use serde_json::json;

use crate::case::cases;
use crate::frames::Outputs;
use crate::lab::Lab;

cases! { "attach":
    stdin_end_reaches_cat_with_upgrade, stdin_end_reaches_cat_without_upgrade, tty_is_raw, both_outputs,
}

const UPGRADE: &[&str] = &["Connection: Upgrade", "Upgrade: tcp"];

fn stdin_end_reaches_cat(lab: &mut Lab, headers: &[&str], status: u16) -> Result<()> {
    let config =
        json!({ "Image": lab.image(), "Cmd": ["cat"], "OpenStdin": true, "StdinOnce": true, "AttachStdin": true });
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
    let config = json!({ "Image": lab.image(), "Cmd": ["sh", "-c", "read word; echo got $word; exit 4"], "Tty": true, "OpenStdin": true });
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
