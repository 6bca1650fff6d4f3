//! bollard: hijacked streams in both directions, and followed logs. `main` calls these.

use anyhow::{Context, Result, bail, ensure};
use bollard::Docker;
use bollard::container::{AttachContainerResults, LogOutput};
use bollard::errors::Error;
use bollard::exec::StartExecResults;
use bollard::models::{ContainerCreateBody, ExecConfig};
use bollard::query_parameters::{
    AttachContainerOptions, AttachContainerOptionsBuilder, CreateContainerOptions, InspectContainerOptions,
    LogsOptionsBuilder, ResizeContainerTTYOptionsBuilder,
};
use futures_util::{Stream, StreamExt};
use tokio::io::{AsyncWrite, AsyncWriteExt};

use crate::{IMAGE, create, remove, sleeper, start, wait};
use lighter_rust_clients::same;

fn both_ways() -> AttachContainerOptions {
    AttachContainerOptionsBuilder::default().stdin(true).stdout(true).stderr(true).stream(true).build()
}

/// Ends the input alone. A named pipe of Windows has no such end of its own: docker's clients there write an empty message.
async fn end(input: &mut (impl AsyncWrite + Unpin)) -> std::io::Result<()> {
    if cfg!(windows) {
        input.write(&[]).await?;
    }
    input.shutdown().await
}

/// Standard output and standard error to their end.
async fn collect(mut output: impl Stream<Item = Result<LogOutput, Error>> + Unpin) -> Result<(Vec<u8>, Vec<u8>)> {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    while let Some(part) = output.next().await {
        match part? {
            LogOutput::StdErr { message } => err.extend_from_slice(&message),
            other => out.extend_from_slice(&other.into_bytes()),
        }
    }
    Ok((out, err))
}

/// The answer is written after the end of the input: a lost half-close hangs, a full close cuts it.
pub async fn attach(docker: &Docker) -> Result<()> {
    let name = "bollard-attach";
    create(docker, name, &["sh", "-c", "cat; echo all of it >&2; exit 4"], true).await?;
    let AttachContainerResults { output, mut input } = docker.attach_container(name, Some(both_ways())).await?;
    start(docker, name).await?;
    let text: Vec<u8> = (0..40_000).flat_map(|line| format!("line {line}\n").into_bytes()).collect();
    let sent = text.clone();
    let writer = tokio::spawn(async move {
        input.write_all(&sent).await?;
        end(&mut input).await
    });
    let (out, err) = collect(output).await?;
    writer.await?.context("write")?;
    ensure!(out == text, "{} bytes of {} came back, or others", out.len(), text.len());
    same("standard error", String::from_utf8_lossy(&err).into_owned(), "all of it\n".to_owned())?;
    same("exit code", wait(docker, name).await?, 4)?;
    remove(docker, name).await
}

pub async fn terminal(docker: &Docker) -> Result<()> {
    let name = "bollard-terminal";
    let script = "read go; stty size; read go; echo typed $go";
    let body = ContainerCreateBody {
        image: Some(IMAGE.to_owned()),
        cmd: Some(vec!["sh".to_owned(), "-c".to_owned(), script.to_owned()]),
        tty: Some(true),
        open_stdin: Some(true),
        ..ContainerCreateBody::default()
    };
    let options = CreateContainerOptions { name: Some(name.to_owned()), ..CreateContainerOptions::default() };
    docker.create_container(Some(options), body).await?;
    let AttachContainerResults { mut output, mut input } = docker.attach_container(name, Some(both_ways())).await?;
    start(docker, name).await?;
    docker.resize_container_tty(name, ResizeContainerTTYOptionsBuilder::default().h(37).w(101).build()).await?;
    input.write_all(b"\n").await?;
    let mut seen = String::new();
    while !seen.contains("37 101") {
        let part = output.next().await.with_context(|| format!("the terminal ended after {seen:?}"))??;
        seen.push_str(&String::from_utf8_lossy(&part.into_bytes()));
    }
    input.write_all(b"word\n").await?;
    while let Some(part) = output.next().await {
        seen.push_str(&String::from_utf8_lossy(&part?.into_bytes()));
    }
    ensure!(seen.contains("typed word"), "the terminal shows {seen:?}");
    remove(docker, name).await
}

/// Starts a command in a container and returns its id and its streams.
async fn attached(docker: &Docker, name: &str, script: &str) -> Result<(String, StartExecResults)> {
    let config = ExecConfig {
        attach_stdin: Some(true),
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        cmd: Some(["sh", "-c", script].map(str::to_owned).to_vec()),
        env: Some(vec!["PORT=home".to_owned()]),
        ..ExecConfig::default()
    };
    let id = docker.create_exec(name, config).await?.id;
    let streams = docker.start_exec(&id, None).await?;
    Ok((id, streams))
}

pub async fn exec(docker: &Docker) -> Result<()> {
    let name = "bollard-exec";
    sleeper(docker, name).await?;
    let (id, streams) = attached(docker, name, "echo to $PORT; echo aside >&2; exit 12").await?;
    let StartExecResults::Attached { output, input } = streams else { bail!("not attached") };
    let (out, err) = collect(output).await?;
    drop(input);
    same("standard output", String::from_utf8(out)?, "to home\n".to_owned())?;
    same("standard error", String::from_utf8(err)?, "aside\n".to_owned())?;
    same("exit code", docker.inspect_exec(&id).await?.exit_code, Some(12))?;
    remove(docker, name).await
}

pub async fn exec_input(docker: &Docker) -> Result<()> {
    let name = "bollard-input";
    sleeper(docker, name).await?;
    let (id, streams) = attached(docker, name, "wc -c; exit 2").await?;
    let StartExecResults::Attached { output, mut input } = streams else { bail!("not attached") };
    input.write_all(&vec![7; 2_500_000]).await?;
    end(&mut input).await?;
    let (out, _) = collect(output).await?;
    same("bytes that arrived", String::from_utf8(out)?.trim().to_owned(), "2500000".to_owned())?;
    same("exit code", docker.inspect_exec(&id).await?.exit_code, Some(2))?;
    remove(docker, name).await
}

pub async fn logs(docker: &Docker) -> Result<()> {
    let name = "bollard-logs";
    create(docker, name, &["sh", "-c", "for i in 1 2 3; do echo tick $i; sleep 1; done; echo gone >&2"], false).await?;
    start(docker, name).await?;
    let options = LogsOptionsBuilder::default().follow(true).stdout(true).stderr(true).timestamps(true).build();
    let (out, err) = collect(Box::pin(docker.logs(name, Some(options)))).await?;
    let out = String::from_utf8(out)?;
    let ticks: Vec<&str> = out.lines().filter_map(|line| line.split_once(' ').map(|(_, words)| words)).collect();
    same("followed lines", ticks, vec!["tick 1", "tick 2", "tick 3"])?;
    ensure!(String::from_utf8(err)?.ends_with(" gone\n"), "standard error is lost");
    let last = LogsOptionsBuilder::default().stdout(true).stderr(true).tail("2").build();
    let (out, err) = collect(Box::pin(docker.logs(name, Some(last)))).await?;
    same("the last lines", String::from_utf8([out, err].concat())?, "tick 3\ngone\n".to_owned())?;
    remove(docker, name).await
}

/// Ten clients leave in mid-stream; the container and the engine go on.
pub async fn dropped(docker: &Docker) -> Result<()> {
    let name = "bollard-dropped";
    create(docker, name, &["sh", "-c", "while :; do seq 1000; done"], false).await?;
    start(docker, name).await?;
    for _ in 0..10 {
        let options = LogsOptionsBuilder::default().follow(true).stdout(true).build();
        let mut stream = Box::pin(docker.logs(name, Some(options)));
        stream.next().await.context("no logs")??;
    }
    let state = docker.inspect_container(name, None::<InspectContainerOptions>).await?.state;
    same("still running", state.and_then(|state| state.running), Some(true))?;
    remove(docker, name).await
}
