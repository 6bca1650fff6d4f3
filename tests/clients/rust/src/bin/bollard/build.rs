//! bollard: images built from a tar that is streamed, exported and imported. `main` calls these.

use anyhow::{Context, Result, ensure};
use bollard::query_parameters::{BuildImageOptionsBuilder, ImportImageOptions, RemoveImageOptions};
use bollard::{Docker, body_full, body_stream};
use bytes::Bytes;
use futures_util::{TryStreamExt, stream};

use crate::{IMAGE, remove, start, wait};
use lighter_rust_clients::same;

fn context(files: &[(&str, &str)]) -> Result<Vec<u8>> {
    let mut tar = tar::Builder::new(Vec::new());
    for (name, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        tar.append_data(&mut header, name, content.as_bytes())?;
    }
    Ok(tar.into_inner()?)
}

async fn remove_image(docker: &Docker, name: &str) -> Result<()> {
    docker.remove_image(name, None::<RemoveImageOptions>, None).await.context("remove the image").map(drop)
}

pub async fn build(docker: &Docker) -> Result<()> {
    let noise: String = (0..60_000).map(|i| format!("{i} bottles\n")).collect();
    let file = format!("FROM {IMAGE}\nCOPY bottles /bottles\nRUN test $(wc -l < /bottles) = 60000\nCMD [\"true\"]\n");
    let tar = context(&[("Dockerfile", &file), ("bottles", &noise)])?;
    // In small pieces, as from a pipe: a body of unknown length.
    let pieces: Vec<Bytes> = tar.chunks(10_000).map(Bytes::copy_from_slice).collect();
    let options = BuildImageOptionsBuilder::default().t("bollard-built:1").rm(true).build();
    let told: Vec<_> = docker
        .build_image(options, None, Some(body_stream(stream::iter(pieces))))
        .try_collect()
        .await
        .context("build")?;
    let said: String = told.iter().filter_map(|info| info.stream.clone()).collect();
    ensure!(said.contains("Successfully tagged bollard-built:1"), "the builder said {said}");
    create_from_built(docker).await?;
    remove_image(docker, "bollard-built:1").await?;
    let bad = context(&[("Dockerfile", &format!("FROM {IMAGE}\nRUN exit 9\n"))])?;
    let options = BuildImageOptionsBuilder::default().t("bollard-built:2").rm(true).forcerm(true).build();
    let failed: Result<Vec<_>, _> = docker.build_image(options, None, Some(body_full(bad.into()))).try_collect().await;
    let error = failed.err().context("a build that fails was taken for a success")?;
    ensure!(error.to_string().contains("returned a non-zero code: 9"), "the failure said {error}");
    Ok(())
}

async fn create_from_built(docker: &Docker) -> Result<()> {
    let body = bollard::models::ContainerCreateBody {
        image: Some("bollard-built:1".to_owned()),
        ..bollard::models::ContainerCreateBody::default()
    };
    let options = bollard::query_parameters::CreateContainerOptions {
        name: Some("bollard-built".to_owned()),
        ..bollard::query_parameters::CreateContainerOptions::default()
    };
    docker.create_container(Some(options), body).await?;
    start(docker, "bollard-built").await?;
    same("exit code", wait(docker, "bollard-built").await?, 0)?;
    remove(docker, "bollard-built").await
}

pub async fn export_import(docker: &Docker) -> Result<()> {
    docker.tag_image(IMAGE, Some(tag("bollard-saved", "1"))).await?;
    let id = docker.inspect_image("bollard-saved:1").await?.id;
    let pieces: Vec<Bytes> = docker.export_image("bollard-saved:1").try_collect().await.context("export")?;
    remove_image(docker, "bollard-saved:1").await?;
    let body = body_full(pieces.concat().into());
    let told: Vec<_> =
        docker.import_image(ImportImageOptions::default(), body, None).try_collect().await.context("import")?;
    ensure!(!told.is_empty(), "the import says nothing");
    same("image id", docker.inspect_image("bollard-saved:1").await?.id, id)?;
    remove_image(docker, "bollard-saved:1").await
}

fn tag(repo: &str, tag: &str) -> bollard::query_parameters::TagImageOptions {
    bollard::query_parameters::TagImageOptionsBuilder::default().repo(repo).tag(tag).build()
}
