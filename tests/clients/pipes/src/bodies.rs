//! bollard: questions, and bodies both ways. `main` calls these.

use anyhow::{Context, Result, bail, ensure};
use bollard::Docker;
use bollard::errors::Error;
use bollard::query_parameters::{BuildImageOptionsBuilder, ImportImageOptions, InspectContainerOptions};
use bollard::{body_full, body_stream};
use bytes::Bytes;
use futures_util::future::try_join_all;
use futures_util::{TryStreamExt, stream};

use crate::{hash, noise, same};

pub async fn about(docker: &Docker) -> Result<()> {
    ensure!(docker.ping().await?.as_str() == "OK", "ping");
    let version = docker.version().await?;
    ensure!(version.version.as_deref() == Some("26.1.5"), "version {:?}", version.version);
    ensure!(docker.list_containers(None).await?.is_empty(), "there are containers");
    match docker.inspect_image("nobody").await {
        Err(Error::DockerResponseServerError { status_code: 404, message }) => {
            ensure!(message.contains("not in this stand-in"), "404 says {message}");
        }
        other => bail!("an image that is not there: {other:?}"),
    }
    Ok(())
}

pub async fn at_once(docker: &Docker) -> Result<()> {
    let asked = (0..40).map(|_| docker.inspect_container("c", None::<InspectContainerOptions>));
    let answers = try_join_all(asked).await?;
    ensure!(answers.iter().all(|answer| answer.id == answers[0].id && answer.id.is_some()), "answers differ");
    Ok(())
}

/// In small pieces, as from a pipe: a body of unknown length. The engine says what it got.
pub async fn build(docker: &Docker) -> Result<()> {
    let tar = noise(3, 3_000_001);
    let pieces: Vec<Bytes> = tar.chunks(10_000).map(Bytes::copy_from_slice).collect();
    let options = BuildImageOptionsBuilder::default().t("built").build();
    let told: Vec<_> = docker
        .build_image(options, None, Some(body_stream(stream::iter(pieces))))
        .try_collect()
        .await
        .context("build")?;
    let said: String = told.iter().filter_map(|info| info.stream.clone()).collect();
    ensure!(said.trim() == format!("{} {}", tar.len(), hash(&tar)), "the engine got {said}");
    Ok(())
}

pub async fn load(docker: &Docker) -> Result<()> {
    let image = noise(4, 20 << 20);
    let want = format!("{} {}", image.len(), hash(&image));
    let body = body_full(image.into());
    let told: Vec<_> =
        docker.import_image(ImportImageOptions::default(), body, None).try_collect().await.context("load")?;
    let said: String = told.iter().filter_map(|info| info.stream.clone()).collect();
    ensure!(said.trim() == want, "the engine got {said}");
    Ok(())
}

pub async fn export(docker: &Docker) -> Result<()> {
    let pieces: Vec<Bytes> = docker.export_image("c").try_collect().await.context("export")?;
    same("an image", &pieces.concat(), &noise(7, 3_000_000))
}
