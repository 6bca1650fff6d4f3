//! bollard: containers, their archives and statistics, volumes and networks. `main` calls these.

use std::collections::HashMap;
use std::io::Read;

use anyhow::{Context, Result, ensure};
use bollard::models::{NetworkCreateRequest, VolumeCreateRequest};
use bollard::query_parameters::{
    DownloadFromContainerOptionsBuilder, InspectContainerOptions, InspectNetworkOptions, ListContainersOptionsBuilder,
    RemoveVolumeOptions, StatsOptionsBuilder, UploadToContainerOptionsBuilder,
};
use bollard::{Docker, body_full};
use futures_util::{StreamExt, TryStreamExt};

use crate::{create, remove, sleeper, start, wait};
use lighter_rust_clients::same;

pub async fn life(docker: &Docker) -> Result<()> {
    let name = "bollard-life";
    create(docker, name, &["sh", "-c", "exit 5"], false).await?;
    let filters = HashMap::from([("name", vec![name])]);
    let options = ListContainersOptionsBuilder::default().all(true).filters(&filters).build();
    let listed = docker.list_containers(Some(options)).await?;
    same("containers listed", listed.len(), 1)?;
    start(docker, name).await?;
    same("exit code", wait(docker, name).await?, 5)?;
    let state = docker.inspect_container(name, None::<InspectContainerOptions>).await?.state.context("no state")?;
    same("state", (state.running, state.exit_code), (Some(false), Some(5)))?;
    remove(docker, name).await
}

pub async fn stats(docker: &Docker) -> Result<()> {
    let name = "bollard-stats";
    sleeper(docker, name).await?;
    let mut stream = Box::pin(docker.stats(name, Some(StatsOptionsBuilder::default().stream(true).build())));
    for _ in 0..2 {
        let sample = stream.next().await.context("the statistics end")??;
        let memory = sample.memory_stats.and_then(|memory| memory.usage);
        ensure!(memory.is_some_and(|bytes| bytes > 0), "no memory in use: {memory:?}");
        ensure!(sample.pids_stats.and_then(|pids| pids.current).is_some_and(|count| count > 0), "no process");
    }
    remove(docker, name).await?;
    // The stream ends with its container.
    while let Some(sample) = stream.next().await {
        if sample.is_err() {
            break;
        }
    }
    Ok(())
}

pub async fn archive(docker: &Docker) -> Result<()> {
    let name = "bollard-archive";
    sleeper(docker, name).await?;
    let content: Vec<u8> = (0..3_000_000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(content.len() as u64);
    header.set_mode(0o640);
    header.set_cksum();
    tar.append_data(&mut header, "deep/cargo", content.as_slice())?;
    let up = UploadToContainerOptionsBuilder::default().path("/root").build();
    docker.upload_to_container(name, Some(up), body_full(tar.into_inner()?.into())).await.context("upload")?;
    let down = DownloadFromContainerOptionsBuilder::default().path("/root/deep/cargo").build();
    let chunks: Vec<bytes::Bytes> =
        docker.download_from_container(name, Some(down)).try_collect().await.context("download")?;
    let back = chunks.concat();
    let mut back = tar::Archive::new(back.as_slice());
    let mut entry = back.entries()?.next().context("an empty archive")??;
    same("mode", entry.header().mode()?, 0o640)?;
    let mut bytes = Vec::new();
    entry.read_to_end(&mut bytes)?;
    ensure!(bytes == content, "{} bytes came back, or others", bytes.len());
    remove(docker, name).await
}

pub async fn volume_and_network(docker: &Docker) -> Result<()> {
    let request = VolumeCreateRequest { name: Some("bollard-hold".to_owned()), ..VolumeCreateRequest::default() };
    same("volume", docker.create_volume(request).await?.name.as_str(), "bollard-hold")?;
    docker.remove_volume("bollard-hold", None::<RemoveVolumeOptions>).await?;
    let request = NetworkCreateRequest { name: "bollard-quay".to_owned(), ..NetworkCreateRequest::default() };
    docker.create_network(request).await?;
    let network = docker.inspect_network("bollard-quay", None::<InspectNetworkOptions>).await?;
    same("driver", network.driver.as_deref(), Some("bridge"))?;
    docker.remove_network("bollard-quay").await.context("remove the network")
}
