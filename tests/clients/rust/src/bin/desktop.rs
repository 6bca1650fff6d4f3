//! What somebody at a desktop asks of the engine that `DOCKER_HOST` names, by bollard: a container that says something, one that
//! is given a folder of this computer, and one whose port is published. Made of nothing that only one system has: it runs as it
//! is on Linux, and for Windows under Wine. The environment says what there is: `DESKTOP_IMAGE`, a tar archive of a root with
//! busybox; `DESKTOP_FOLDER`, an empty folder that containers may have, as this system spells it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use bollard::models::{ContainerCreateBody, HostConfig, PortBinding};
use bollard::query_parameters::{
    AttachContainerOptionsBuilder, CreateContainerOptionsBuilder, CreateImageOptionsBuilder, InspectContainerOptions,
    RemoveContainerOptionsBuilder, StartContainerOptions, WaitContainerOptions,
};
use bollard::{Docker, body_full};
use futures_util::{StreamExt, TryStreamExt};
use lighter_rust_clients::{Report, same};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const IMAGE: &str = "bb:latest";
/// A safety net for emulated machines; nothing here waits for it.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(1200);

#[tokio::main]
async fn main() -> Result<()> {
    let report = Report::from_args();
    let docker = Docker::connect_with_defaults()?.with_timeout(PATIENCE).negotiate_version().await?;
    report.check("image_is_imported", import(&docker)).await;
    report.check("run_prints_and_tells_its_exit_code", run_prints(&docker)).await;
    report.check("bind_of_a_folder_goes_both_ways", bind(&docker)).await;
    report.check("bind_outside_the_shares_is_refused", refused(&docker)).await;
    report.check("published_port_is_reached_on_this_computer", published(&docker)).await;
    report.done();
    Ok(())
}

fn given(name: &str) -> Result<PathBuf> {
    std::env::var_os(name).map(PathBuf::from).with_context(|| format!("{name} says what there is, and is not set"))
}

async fn import(docker: &Docker) -> Result<()> {
    let archive = tokio::fs::read(given("DESKTOP_IMAGE")?).await.context("the image's archive")?;
    let options = CreateImageOptionsBuilder::default().from_src("-").repo("bb").tag("latest").build();
    let told: Vec<_> = docker.create_image(Some(options), Some(body_full(archive.into())), None).try_collect().await?;
    ensure!(!told.is_empty(), "the import says nothing");
    docker.inspect_image(IMAGE).await.map(drop).context("what was imported is not there")
}

/// What `docker run --rm` does: what the container printed, and its exit code.
async fn run(docker: &Docker, name: &str, command: &[&str], host: HostConfig) -> Result<(Vec<u8>, i64)> {
    create(docker, name, command, host, None).await?;
    let both = AttachContainerOptionsBuilder::default().stdout(true).stderr(true).stream(true).build();
    let mut attached = docker.attach_container(name, Some(both)).await.context("attach")?;
    docker.start_container(name, None::<StartContainerOptions>).await.context("start")?;
    let mut printed = Vec::new();
    while let Some(part) = attached.output.next().await {
        printed.extend_from_slice(&part?.into_bytes());
    }
    let code = match docker.wait_container(name, None::<WaitContainerOptions>).next().await.context("wait")? {
        Ok(answer) => answer.status_code,
        Err(bollard::errors::Error::DockerContainerWaitError { code, .. }) => code,
        Err(error) => return Err(error).context("wait"),
    };
    remove(docker, name).await?;
    Ok((printed, code))
}

async fn create(docker: &Docker, name: &str, command: &[&str], host: HostConfig, port: Option<&str>) -> Result<()> {
    let body = ContainerCreateBody {
        image: Some(IMAGE.to_owned()),
        cmd: Some(command.iter().map(|word| (*word).to_owned()).collect()),
        exposed_ports: port.map(|port| vec![port.to_owned()]),
        host_config: Some(HostConfig { init: Some(true), ..host }),
        ..ContainerCreateBody::default()
    };
    let options = CreateContainerOptionsBuilder::default().name(name).build();
    docker.create_container(Some(options), body).await.map(drop).context("create")
}

async fn remove(docker: &Docker, name: &str) -> Result<()> {
    let options = RemoveContainerOptionsBuilder::default().force(true).v(true).build();
    docker.remove_container(name, Some(options)).await.context("remove")
}

async fn run_prints(docker: &Docker) -> Result<()> {
    let command = ["sh", "-c", "echo said; exit 7"];
    let (printed, code) = run(docker, "desktop-run", &command, HostConfig::default()).await?;
    same("what was printed", String::from_utf8_lossy(&printed).into_owned(), "said\n".to_owned())?;
    same("exit code", code, 7)
}

fn bound(folder: &Path) -> HostConfig {
    HostConfig { binds: Some(vec![format!("{}:/shared", folder.display())]), ..HostConfig::default() }
}

/// A file of this computer is read in the container, one of the container here; names, sizes and bytes are the same.
async fn bind(docker: &Docker) -> Result<()> {
    let folder = given("DESKTOP_FOLDER")?;
    let ours: Vec<u8> = (0..100_000u32).flat_map(u32::to_le_bytes).collect();
    tokio::fs::write(folder.join("ours.bin"), &ours).await?;
    let script = "set -e; cd /shared; mkdir -p deep/er; cp ours.bin deep/er/copy.bin; echo -n theirs > new.txt; \
                  mv new.txt renamed.txt; chmod 640 renamed.txt; chown 123:45 renamed.txt; \
                  stat -c '%a %u %g %s' renamed.txt; ls; rm ours.bin";
    let (printed, code) = run(docker, "desktop-bind", &["sh", "-c", script], bound(&folder)).await?;
    let printed = String::from_utf8_lossy(&printed).into_owned();
    same("exit code", code, 0).with_context(|| printed.clone())?;
    same("what was printed", printed, "640 123 45 6\ndeep\nours.bin\nrenamed.txt\n".to_owned())?;
    ensure!(tokio::fs::read(folder.join("deep").join("er").join("copy.bin")).await? == ours, "the copy differs");
    same("their file", tokio::fs::read(folder.join("renamed.txt")).await?, b"theirs".to_vec())?;
    ensure!(!folder.join("ours.bin").exists(), "what the container removed is still here");
    Ok(())
}

/// The root of the system is in no share.
async fn refused(docker: &Docker) -> Result<()> {
    let outside = given("DESKTOP_FOLDER")?.ancestors().last().context("a root")?.join("desktop-outside");
    let error = create(docker, "desktop-refused", &["true"], bound(&outside), None).await;
    let error = format!("{:#}", error.err().context("a folder outside the shares was bound")?);
    ensure!(error.contains("shares") && error.contains("lighter restart"), "the refusal says {error}");
    Ok(())
}

/// Bytes go through the port of this computer to the container and back, and its end comes after ours.
async fn published(docker: &Docker) -> Result<()> {
    let any = PortBinding { host_ip: None, host_port: Some("0".to_owned()) };
    let ports = HashMap::from([("7/tcp".to_owned(), Some(vec![any]))]);
    let host = HostConfig { port_bindings: Some(ports), ..HostConfig::default() };
    let command = ["nc", "-ll", "-p", "7", "-e", "cat"];
    create(docker, "desktop-port", &command, host, Some("7/tcp")).await?;
    docker.start_container("desktop-port", None::<StartContainerOptions>).await.context("start")?;
    let about = docker.inspect_container("desktop-port", None::<InspectContainerOptions>).await?;
    let ports = about.network_settings.and_then(|network| network.ports).context("no ports")?;
    let port = ports.get("7/tcp").and_then(|bound| bound.as_ref()?.first()?.host_port.clone()).context("no port")?;
    let mut stream = TcpStream::connect(("127.0.0.1", port.parse::<u16>()?)).await.context("connect")?;
    let sent: Vec<u8> = (0..65_536u32).flat_map(u32::to_le_bytes).collect();
    let (mut input, mut output) = stream.split();
    let writing = async {
        output.write_all(&sent).await?;
        output.shutdown().await
    };
    let mut came = Vec::new();
    let (wrote, read) = tokio::join!(writing, input.read_to_end(&mut came));
    wrote.and(read).context("the connection")?;
    ensure!(came == sent, "{} bytes of {} came back, or others", came.len(), sent.len());
    remove(docker, "desktop-port").await
}
