//! Processes in a running container: exec in every form, and what goes over its stream.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::ask::Show;
use crate::case::cases;
use crate::frames::Outputs;
use crate::lab::Lab;
use crate::reply::Head;
use crate::wire::Wire;

cases! { "exec":
    outputs_are_multiplexed_with_upgrade, outputs_are_multiplexed_without_upgrade, stdin_end_reaches_the_process, tty_is_raw_and_resizes,
    detached, exit_code_inspect_and_second_start, command_that_is_not_there, user_env_and_folder, detach_keys, no_command,
    container_that_does_not_run, paused_container, client_leaves_a_running_process, tty_at_creation_only, console_size_at_start,
}

/// Makes an exec in the idler; its id.
fn make(lab: &mut Lab, config: &Value) -> Result<String> {
    let idler = lab.idler()?;
    let reply = lab.post(&format!("/containers/{idler}/exec")).json(config).expect(201)?;
    Ok(reply.json()?["Id"].as_str().context("exec gave no Id")?.to_owned())
}

/// Starts it attached.
fn start(lab: &mut Lab, id: &str, config: &Value, upgrade: bool) -> Result<(Head, Wire)> {
    let ask = lab.post(&format!("/exec/{id}/start")).json(config);
    if upgrade {
        return ask.header("Connection: Upgrade").header("Upgrade: tcp").open(101);
    }
    ask.open(200)
}

/// Both outputs of a finished exec, noted.
fn outputs(lab: &mut Lab, wire: &mut Wire) -> Result<Outputs> {
    let outputs = Outputs::parse(&wire.rest()?)?;
    lab.note_bytes("stdout", &outputs.stdout);
    lab.note_bytes("stderr", &outputs.stderr);
    Ok(outputs)
}

/// The exec's exit code, once dockerd has written it down.
fn exit_code(lab: &mut Lab, id: &str) -> Result<i64> {
    // The stream may end a moment before the process counts as ended.
    for _ in 0..1000 {
        let state = lab.quiet("GET", &format!("/exec/{id}/json"), None, 200)?.json()?;
        if let Some(code) = state["ExitCode"].as_i64().filter(|_| state["Running"] == false) {
            return Ok(code);
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    anyhow::bail!("the exec never ended")
}

const BOTH: [&str; 3] = ["sh", "-c", "echo out; echo err >&2"];

fn multiplexed(lab: &mut Lab, upgrade: bool) -> Result<()> {
    let id = make(lab, &json!({ "Cmd": BOTH, "AttachStdout": true, "AttachStderr": true }))?;
    let (_, mut wire) = start(lab, &id, &json!({ "Detach": false, "Tty": false }), upgrade)?;
    let outputs = outputs(lab, &mut wire)?;
    ensure!(outputs == Outputs { stdout: b"out\n".to_vec(), stderr: b"err\n".to_vec() }, "{outputs:?}");
    Ok(())
}

fn outputs_are_multiplexed_with_upgrade(lab: &mut Lab) -> Result<()> {
    multiplexed(lab, true)
}

fn outputs_are_multiplexed_without_upgrade(lab: &mut Lab) -> Result<()> {
    multiplexed(lab, false)
}

fn stdin_end_reaches_the_process(lab: &mut Lab) -> Result<()> {
    let id = make(lab, &json!({ "Cmd": ["wc", "-c"], "AttachStdin": true, "AttachStdout": true }))?;
    let (_, mut wire) = start(lab, &id, &json!({}), true)?;
    wire.send(&vec![b'x'; 300_000])?;
    wire.half_close()?;
    let outputs = outputs(lab, &mut wire)?;
    ensure!(outputs.stdout == b"300000\n", "{outputs:?}");
    Ok(())
}

fn tty_is_raw_and_resizes(lab: &mut Lab) -> Result<()> {
    let script = "stty -echo; echo ready; read word; stty size; echo got $word";
    let config = json!({ "Cmd": ["sh", "-c", script], "AttachStdin": true, "AttachStdout": true, "Tty": true });
    let id = make(lab, &config)?;
    let (_, mut wire) = start(lab, &id, &json!({ "Tty": true }), true)?;
    wire.until(b"ready\r\n")?;
    lab.post(&format!("/exec/{id}/resize?h=31&w=77")).expect(200)?;
    wire.send(b"bread\n")?;
    let seen = wire.rest()?;
    lab.note_bytes("tty", &seen);
    ensure!(seen == b"31 77\r\ngot bread\r\n", "{:?}", seen.escape_ascii());
    Ok(())
}

fn detached(lab: &mut Lab) -> Result<()> {
    let id = make(lab, &json!({ "Cmd": ["sh", "-c", "exit 9"], "AttachStdout": true }))?;
    lab.post(&format!("/exec/{id}/start")).json(&json!({ "Detach": true })).expect(200)?;
    ensure!(exit_code(lab, &id)? == 9, "another exit code");
    Ok(())
}

fn exit_code_inspect_and_second_start(lab: &mut Lab) -> Result<()> {
    let id = make(lab, &json!({ "Cmd": ["sh", "-c", "exit 7"], "AttachStdout": true }))?;
    lab.get(&format!("/exec/{id}/json")).expect(200)?;
    let (_, mut wire) = start(lab, &id, &json!({}), true)?;
    outputs(lab, &mut wire)?;
    ensure!(exit_code(lab, &id)? == 7, "another exit code");
    lab.get(&format!("/exec/{id}/json")).expect(200)?;
    let again = lab.post(&format!("/exec/{id}/start")).json(&json!({})).expect(200)?;
    ensure!(again.text().contains("has already run"), "{:?}", again.text());
    Ok(())
}

fn command_that_is_not_there(lab: &mut Lab) -> Result<()> {
    let id = make(lab, &json!({ "Cmd": ["/no/such/program"], "AttachStdout": true, "AttachStderr": true }))?;
    let (_, mut wire) = start(lab, &id, &json!({}), true)?;
    let outputs = outputs(lab, &mut wire)?;
    ensure!(String::from_utf8_lossy(&outputs.stdout).contains("no such file"), "{outputs:?}");
    let code = exit_code(lab, &id)?;
    ensure!(code == 126, "exit code {code}");
    Ok(())
}

fn user_env_and_folder(lab: &mut Lab) -> Result<()> {
    let script = "id -u; echo $WORD; pwd";
    let config = json!({
        "Cmd": ["sh", "-c", script], "AttachStdout": true, "User": "1234:5", "Env": ["WORD=argued"], "WorkingDir": "/data",
    });
    let id = make(lab, &config)?;
    let (_, mut wire) = start(lab, &id, &json!({}), true)?;
    let outputs = outputs(lab, &mut wire)?;
    ensure!(outputs.stdout == b"1234\nargued\n/data\n", "{outputs:?}");
    Ok(())
}

fn detach_keys(lab: &mut Lab) -> Result<()> {
    let config = json!({
        "Cmd": ["sh", "-c", "echo ready; cat"], "AttachStdin": true, "AttachStdout": true, "Tty": true, "DetachKeys": "ctrl-a,x",
    });
    let id = make(lab, &config)?;
    let (_, mut wire) = start(lab, &id, &json!({ "Tty": true }), true)?;
    wire.until(b"ready\r\n")?;
    wire.send(b"\x01x")?;
    let rest = wire.rest()?;
    lab.note_bytes("tty", &rest);
    ensure!(rest.ends_with(b"read escape sequence\r\n"), "{:?}", rest.escape_ascii());
    lab.get(&format!("/exec/{id}/json")).show(Show::Shape).expect(200).map(drop)
}

fn no_command(lab: &mut Lab) -> Result<()> {
    let idler = lab.idler()?;
    lab.post(&format!("/containers/{idler}/exec")).json(&json!({ "AttachStdout": true })).expect(400).map(drop)
}

fn container_that_does_not_run(lab: &mut Lab) -> Result<()> {
    let config = json!({ "Image": lab.image(), "Cmd": ["true"] });
    lab.create("cf-still", &config)?;
    lab.post("/containers/cf-still/exec").json(&json!({ "Cmd": ["true"] })).expect(409).map(drop)
}

fn paused_container(lab: &mut Lab) -> Result<()> {
    let idler = lab.idler()?;
    lab.post(&format!("/containers/{idler}/pause")).expect(204)?;
    let answers = (|| {
        lab.post(&format!("/containers/{idler}/exec")).json(&json!({ "Cmd": ["true"] })).expect(409)?;
        lab.post(&format!("/containers/{idler}/pause")).expect(409)?;
        lab.get(&format!("/containers/{idler}/top")).show(Show::Shape).expect(200).map(drop)
    })();
    lab.post(&format!("/containers/{idler}/unpause")).expect(204)?;
    lab.post(&format!("/containers/{idler}/unpause")).expect(500)?;
    answers
}

fn client_leaves_a_running_process(lab: &mut Lab) -> Result<()> {
    let config =
        json!({ "Cmd": ["sh", "-c", "echo ready; read word; exit 6"], "AttachStdin": true, "AttachStdout": true });
    let id = make(lab, &config)?;
    let (_, mut wire) = start(lab, &id, &json!({}), true)?;
    Outputs::default().read_until(&mut wire, b"ready\n")?;
    drop(wire);
    // Its input ends with the client, so `read` fails and the script goes on.
    ensure!(exit_code(lab, &id)? == 6, "another exit code");
    Ok(())
}

fn tty_at_creation_only(lab: &mut Lab) -> Result<()> {
    let id = make(lab, &json!({ "Cmd": ["echo", "one"], "AttachStdout": true, "Tty": true }))?;
    let (_, mut wire) = start(lab, &id, &json!({}), false)?;
    let seen = wire.rest()?;
    lab.note_bytes("seen", &seen);
    ensure!(seen.ends_with(b"one\r\n"), "{:?}", seen.escape_ascii());
    Ok(())
}

fn console_size_at_start(lab: &mut Lab) -> Result<()> {
    let id = make(lab, &json!({ "Cmd": ["stty", "size"], "AttachStdin": true, "AttachStdout": true, "Tty": true }))?;
    let (_, mut wire) = start(lab, &id, &json!({ "Tty": true, "ConsoleSize": [41, 133] }), true)?;
    let seen = wire.rest()?;
    lab.note_bytes("tty", &seen);
    ensure!(seen == b"41 133\r\n", "{:?}", seen.escape_ascii());
    Ok(())
}
