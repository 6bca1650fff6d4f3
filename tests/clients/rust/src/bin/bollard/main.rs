//! bollard against the engine that `DOCKER_HOST` names. The suite `clients` starts it.

mod build;
mod containers;
mod engine;
mod streams;

use anyhow::{Context, Result};
use bollard::Docker;
use bollard::models::{ContainerCreateBody, HostConfig};
use bollard::query_parameters::{
    CreateContainerOptions, RemoveContainerOptionsBuilder, StartContainerOptions, WaitContainerOptions,
};
use futures_util::StreamExt;

use lighter_rust_clients::Report;

const IMAGE: &str = "bb:latest";
/// A safety net for emulated machines; nothing here waits for it.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(600);

#[tokio::main]
async fn main() -> Result<()> {
    let report = Report::from_args();
    let docker = Docker::connect_with_defaults()?.with_timeout(PATIENCE).negotiate_version().await?;
    report.check("version_info_and_errors", engine::about(&docker)).await;
    report.check("create_start_wait_inspect_remove", containers::life(&docker)).await;
    report.check("attach_both_ways_with_half_close", streams::attach(&docker)).await;
    report.check("attach_to_a_terminal_and_resize", streams::terminal(&docker)).await;
    report.check("exec_separates_streams_and_knows_its_code", streams::exec(&docker)).await;
    report.check("exec_ends_with_its_input", streams::exec_input(&docker)).await;
    report.check("logs_follow_to_the_end", streams::logs(&docker)).await;
    report.check("a_dropped_stream_harms_nobody", streams::dropped(&docker)).await;
    report.check("events_tell_a_life", engine::events(&docker)).await;
    report.check("stats_come_as_a_stream", containers::stats(&docker)).await;
    report.check("archive_up_and_down", containers::archive(&docker)).await;
    report.check("volumes_and_networks", containers::volume_and_network(&docker)).await;
    report.check("forty_requests_at_once", engine::at_once(&docker)).await;
    report.check("build_from_a_streamed_tar", build::build(&docker)).await;
    report.check("export_and_import_an_image", build::export_import(&docker)).await;
    report.done();
    Ok(())
}

/// A container that takes standard input until its first client closes it, ready to start.
async fn create(docker: &Docker, name: &str, command: &[&str], input: bool) -> Result<()> {
    let body = ContainerCreateBody {
        image: Some(IMAGE.to_owned()),
        cmd: Some(command.iter().map(|word| (*word).to_owned()).collect()),
        open_stdin: Some(input),
        stdin_once: Some(input),
        attach_stdin: Some(input),
        host_config: Some(HostConfig { init: Some(true), ..HostConfig::default() }),
        ..ContainerCreateBody::default()
    };
    let options = CreateContainerOptions { name: Some(name.to_owned()), ..CreateContainerOptions::default() };
    docker.create_container(Some(options), body).await.context("create")?;
    Ok(())
}

async fn start(docker: &Docker, name: &str) -> Result<()> {
    docker.start_container(name, None::<StartContainerOptions>).await.context("start")
}

/// A container that sleeps until it is removed.
async fn sleeper(docker: &Docker, name: &str) -> Result<()> {
    create(docker, name, &["sleep", "3600"], false).await?;
    start(docker, name).await
}

/// The exit code of a container that ends by itself; bollard makes an error of one that is not 0.
async fn wait(docker: &Docker, name: &str) -> Result<i64> {
    let answer = docker.wait_container(name, None::<WaitContainerOptions>).next().await.context("wait says nothing")?;
    match answer {
        Ok(answer) => Ok(answer.status_code),
        Err(bollard::errors::Error::DockerContainerWaitError { code, .. }) => Ok(code),
        Err(error) => Err(error).context("wait"),
    }
}

async fn remove(docker: &Docker, name: &str) -> Result<()> {
    let options = RemoveContainerOptionsBuilder::default().force(true).v(true).build();
    docker.remove_container(name, Some(options)).await.context("remove")
}
