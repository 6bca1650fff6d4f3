//! bollard: hijacked streams, followed logs, and an answer that waits. Its pipes cannot be closed in one direction: what ends
//! `cat` here is that the client has gone. `main` calls these.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use bollard::Docker;
use bollard::container::{AttachContainerResults, LogOutput};
use bollard::errors::Error;
use bollard::exec::StartExecResults;
use bollard::models::ExecConfig;
use bollard::query_parameters::{AttachContainerOptionsBuilder, LogsOptionsBuilder, WaitContainerOptions};
use futures_util::{Stream, StreamExt};
use tokio::io::{AsyncWrite, AsyncWriteExt};

use crate::{noise, same};

/// `bytes` go in, and so many come out as standard output. Both ends are dropped then.
async fn cat(
    mut input: impl AsyncWrite + Unpin + Send + 'static,
    mut output: impl Stream<Item = Result<LogOutput, Error>> + Unpin,
    bytes: Vec<u8>,
) -> Result<()> {
    let sent = bytes.clone();
    let writer = tokio::spawn(async move {
        for piece in sent.chunks(50_000) {
            input.write_all(piece).await?;
        }
        input.flush().await.map(|()| input)
    });
    let mut got = Vec::new();
    while got.len() < bytes.len() {
        match output.next().await.context("the output ends too early")?? {
            LogOutput::StdOut { message } => got.extend_from_slice(&message),
            other => bail!("it is no standard output: {other:?}"),
        }
    }
    drop(writer.await?.context("write")?);
    same("standard output", &got, &bytes)
}

async fn attached(docker: &Docker) -> Result<AttachContainerResults> {
    let options = AttachContainerOptionsBuilder::default().stdin(true).stdout(true).stderr(true).stream(true).build();
    docker.attach_container("c", Some(options)).await.context("attach")
}

pub async fn attach(docker: &Docker) -> Result<()> {
    let AttachContainerResults { output, input } = attached(docker).await?;
    cat(input, output, noise(1, 2_500_000)).await
}

pub async fn exec(docker: &Docker) -> Result<()> {
    let config = ExecConfig {
        attach_stdin: Some(true),
        attach_stdout: Some(true),
        cmd: Some(vec!["cat".to_owned()]),
        ..ExecConfig::default()
    };
    let id = docker.create_exec("c", config).await?.id;
    let StartExecResults::Attached { output, input } = docker.start_exec(&id, None).await? else {
        bail!("not attached")
    };
    cat(input, output, noise(2, 700_000)).await?;
    ensure!(docker.inspect_exec(&id).await?.exit_code == Some(0), "exit code");
    Ok(())
}

/// The answer's end comes with the end of the container, and not before.
pub async fn wait(docker: &Docker) -> Result<()> {
    let streams = attached(docker).await?;
    let mut waiting = Box::pin(docker.wait_container("c", None::<WaitContainerOptions>));
    let early = tokio::time::timeout(Duration::from_millis(300), waiting.next()).await;
    ensure!(early.is_err(), "the wait ends while the container runs");
    drop(streams);
    let answer = waiting.next().await.context("the wait ends without an answer")??;
    ensure!(answer.status_code == 0, "exit code {}", answer.status_code);
    ensure!(waiting.next().await.is_none(), "there is more than one answer");
    Ok(())
}

fn followed(docker: &Docker, tail: &str) -> impl Stream<Item = Result<LogOutput, Error>> + Unpin {
    let options = LogsOptionsBuilder::default().follow(true).stdout(true).tail(tail).build();
    Box::pin(docker.logs("c", Some(options)))
}

pub async fn logs(docker: &Docker) -> Result<()> {
    let mut lines = followed(docker, "60");
    let mut got = Vec::new();
    while let Some(line) = lines.next().await {
        got.extend_from_slice(&line?.into_bytes());
    }
    same("followed lines", &got, "line\n".repeat(60).as_bytes())
}

/// Ten clients leave in mid-stream.
pub async fn dropped(docker: &Docker) -> Result<()> {
    for _ in 0..10 {
        followed(docker, "all").next().await.context("no logs")??;
    }
    ensure!(docker.ping().await?.as_str() == "OK", "ping");
    Ok(())
}
