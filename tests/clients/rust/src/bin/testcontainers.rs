//! Testcontainers for Rust against the engine that `DOCKER_HOST` names, as a test suite uses it. The suite `clients` starts it.
//! The suite's machine has no network and publishes no port, so every wait is for a message, a health check or an exit, and none
//! for a port; the network rig asks for the one check that needs one. This edition has no reaper (Ryuk): containers go with the values that own them.

use anyhow::{Context, Result, ensure};
use testcontainers::core::logs::LogFrame;
use testcontainers::core::wait::ExitWaitStrategy;
use testcontainers::core::{CmdWaitFor, ExecCommand, IntoContainerPort, Mount, WaitFor};
use testcontainers::runners::AsyncRunner;
use testcontainers::{ContainerAsync, ContainerRequest, GenericImage, ImageExt};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};

use lighter_rust_clients::{Report, same};

/// A safety net for emulated machines; nothing here waits for it.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(600);

#[tokio::main]
async fn main() -> Result<()> {
    let report = Report::from_args();
    report.check("waits_for_a_message_and_removes", message()).await;
    report.check("waits_for_an_exit_code", exit()).await;
    report.check("exec_gives_both_streams_and_its_code", exec()).await;
    report.check("stop_and_start_again", stop_start()).await;
    report.check("a_file_is_copied_in", copied()).await;
    report.check("two_containers_meet_in_a_network", network()).await;
    report.check("logs_reach_a_consumer", consumer()).await;
    report.check("three_start_at_once", parallel()).await;
    report.check("an_image_that_is_nowhere_is_an_error", missing()).await;
    // Needs a network, which the machine of the suite `clients` has not; the network rig asks for it.
    if std::env::args().any(|word| word == "a_mapped_port_is_reached") {
        report.check("a_mapped_port_is_reached", mapped_port()).await;
    }
    report.done();
    Ok(())
}

/// busybox with this script; it counts as started when it has said "ready".
fn script(text: &str) -> ContainerRequest<GenericImage> {
    GenericImage::new("bb", "latest")
        .with_wait_for(WaitFor::message_on_stdout("ready"))
        .with_cmd(["sh", "-c", text])
        .with_startup_timeout(PATIENCE)
}

/// Removes a container now; dropping it would do so without saying how that went.
async fn remove(container: ContainerAsync<GenericImage>) -> Result<()> {
    container.rm().await.context("remove")
}

async fn message() -> Result<()> {
    let container = script("echo warming up; sleep 1; echo ready; echo aside >&2; exec sleep 3600").start().await?;
    let mut lines = container.stdout(true).lines();
    same("first line", lines.next_line().await?.as_deref(), Some("warming up"))?;
    same("second line", lines.next_line().await?.as_deref(), Some("ready"))?;
    let mut lines = container.stderr(true).lines();
    same("standard error", lines.next_line().await?.as_deref(), Some("aside"))?;
    remove(container).await
}

async fn exit() -> Result<()> {
    let image = GenericImage::new("bb", "latest")
        .with_wait_for(WaitFor::exit(ExitWaitStrategy::new().with_exit_code(7)))
        .with_cmd(["sh", "-c", "echo done; exit 7"])
        .with_startup_timeout(PATIENCE);
    let container = image.start().await?;
    same("output", container.stdout_to_vec().await?.as_slice(), b"done\n")?;
    remove(container).await
}

async fn exec() -> Result<()> {
    let container = script("echo ready; exec sleep 3600").start().await?;
    let command = ExecCommand::new(["sh", "-c", "seq 3; echo aside >&2; exit 5"]);
    let mut done = container.exec(command.with_cmd_ready_condition(CmdWaitFor::exit_code(5))).await?;
    same("standard output", done.stdout_to_vec().await?.as_slice(), b"1\n2\n3\n")?;
    same("standard error", done.stderr_to_vec().await?.as_slice(), b"aside\n")?;
    same("code", done.exit_code().await?, Some(5))?;
    let command = ExecCommand::new(["sh", "-c", "echo not yet; sleep 1; echo found; sleep 3600"]);
    container.exec(command.with_cmd_ready_condition(CmdWaitFor::message_on_stdout("found"))).await?;
    remove(container).await
}

async fn stop_start() -> Result<()> {
    let container = script("trap 'exit 0' TERM; echo ready; while :; do sleep 1; done").start().await?;
    container.stop().await.context("stop")?;
    container.start().await.context("start")?;
    let said = String::from_utf8(container.stdout_to_vec().await?)?;
    ensure!(said.matches("ready").count() == 2, "after two starts the logs say {said:?}");
    remove(container).await
}

async fn copied() -> Result<()> {
    let content: Vec<u8> = (0..200_000_u32).map(|i| (i % 251) as u8).collect();
    let request = script("echo ready; sha256sum < /data/in; wc -c < /data/in; exec sleep 3600")
        .with_copy_to("/data/in", content)
        .with_mount(Mount::tmpfs_mount("/scratch"));
    let container = request.start().await?;
    let mut lines = container.stdout(true).lines();
    while let Some(line) = lines.next_line().await? {
        if line == "200000" {
            return remove(container).await;
        }
    }
    anyhow::bail!("the file did not arrive whole")
}

async fn network() -> Result<()> {
    let server = "echo served > /tmp/page; httpd -p 8080 -h /tmp && echo ready; exec sleep 3600";
    let server = script(server).with_network("tc-quay").with_container_name("tc-server").start().await?;
    let asking = "wget -q -O - http://tc-server:8080/page; echo ready; exec sleep 3600";
    let client = script(asking).with_network("tc-quay").start().await?;
    same("the page", client.stdout_to_vec().await?.as_slice(), b"served\nready\n")?;
    remove(client).await?;
    remove(server).await
}

async fn consumer() -> Result<()> {
    let (sender, receiver) = std::sync::mpsc::channel();
    let request = script("echo ready; echo message in a bottle; exec sleep 3600");
    let request = request.with_log_consumer(move |frame: &LogFrame| {
        // Nobody listens any more once the message has come.
        drop(sender.send(String::from_utf8_lossy(frame.bytes()).into_owned()));
    });
    let container = request.start().await?;
    let mut seen = String::new();
    while !seen.contains("message in a bottle") {
        seen.push_str(&receiver.recv_timeout(PATIENCE).with_context(|| format!("the consumer saw {seen:?}"))?);
    }
    remove(container).await
}

async fn parallel() -> Result<()> {
    let one = || script("echo ready; exec sleep 3600").start();
    let (first, second, third) = tokio::try_join!(one(), one(), one())?;
    tokio::try_join!(remove(first), remove(second), remove(third)).map(drop)
}

async fn mapped_port() -> Result<()> {
    let server = "echo served > /tmp/page; httpd -p 8080 -h /tmp && echo ready; exec sleep 3600";
    let image = GenericImage::new("bb", "latest")
        .with_exposed_port(8080.tcp())
        .with_wait_for(WaitFor::message_on_stdout("ready"))
        .with_cmd(["sh", "-c", server])
        .with_startup_timeout(PATIENCE);
    let container = image.start().await?;
    let port = container.get_host_port_ipv4(8080.tcp()).await?;
    // Not `get_host`: on a host that is a container itself it would name the engine's gateway.
    let mut stream = tokio::net::TcpStream::connect(("localhost", port)).await?;
    stream.write_all(b"GET /page HTTP/1.0\r\n\r\n").await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    ensure!(answer.ends_with("served\n"), "the page is {answer:?}");
    remove(container).await
}

async fn missing() -> Result<()> {
    let error = GenericImage::new("127.0.0.1:1/nowhere", "1").start().await.err().context("it started")?;
    let words = format!("{:#}", anyhow::Error::new(error));
    ensure!(words.contains("127.0.0.1:1"), "the error says {words}");
    Ok(())
}
