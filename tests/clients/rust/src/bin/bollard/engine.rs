//! bollard: the engine itself: its version, what it says to errors, its events, many requests at once. `main` calls these.

use std::collections::HashMap;

use anyhow::{Context, Result, bail, ensure};
use bollard::Docker;
use bollard::errors::Error;
use bollard::query_parameters::{EventsOptionsBuilder, InspectContainerOptions};
use futures_util::StreamExt;
use futures_util::future::try_join_all;

use crate::{create, remove, start, wait};
use lighter_rust_clients::same;

pub async fn about(docker: &Docker) -> Result<()> {
    same("ping", docker.ping().await?.as_str(), "OK")?;
    let version = docker.version().await?;
    same("system", version.os.as_deref(), Some("linux"))?;
    ensure!(docker.info().await?.driver.is_some(), "info names no storage driver");
    let missing = docker.inspect_container("nobody", None::<InspectContainerOptions>).await;
    match missing {
        Err(Error::DockerResponseServerError { status_code: 404, message }) => {
            ensure!(message.contains("nobody"), "404 says {message}");
        }
        other => bail!("a container that is not there: {other:?}"),
    }
    create(docker, "bollard-twice", &["true"], false).await?;
    let twice = create(docker, "bollard-twice", &["true"], false).await;
    remove(docker, "bollard-twice").await?;
    let error = twice.err().context("a name was given twice")?;
    ensure!(format!("{error:#}").contains("409"), "a name in use: {error:#}");
    Ok(())
}

/// The stream is asked for what has been since its beginning, so that it does not matter when it begins.
pub async fn events(docker: &Docker) -> Result<()> {
    let filters = HashMap::from([("container", vec!["bollard-told"])]);
    let options = EventsOptionsBuilder::default().since("1").filters(&filters).build();
    let mut stream = Box::pin(docker.events(Some(options)));
    create(docker, "bollard-told", &["sh", "-c", "exit 3"], false).await?;
    start(docker, "bollard-told").await?;
    same("exit code", wait(docker, "bollard-told").await?, 3)?;
    remove(docker, "bollard-told").await?;
    let mut actions = Vec::new();
    while let Some(event) = stream.next().await {
        let event = event?;
        let action = event.action.unwrap_or_default();
        if action == "die" {
            let attributes = event.actor.and_then(|actor| actor.attributes).unwrap_or_default();
            same("exit code in the event", attributes.get("exitCode").map(String::as_str), Some("3"))?;
        }
        actions.push(action);
        if actions.last().is_some_and(|action| action == "destroy") {
            return same("events", actions.join(" "), "create start die destroy".to_owned());
        }
    }
    bail!("the stream of events ended after {actions:?}")
}

pub async fn at_once(docker: &Docker) -> Result<()> {
    create(docker, "bollard-asked", &["true"], false).await?;
    let asked = (0..40).map(|_| docker.inspect_container("bollard-asked", None::<InspectContainerOptions>));
    let answers = try_join_all(asked).await;
    remove(docker, "bollard-asked").await?;
    let answers = answers?;
    ensure!(answers.iter().all(|answer| answer.id == answers[0].id), "answers differ");
    same("answers", answers.len(), 40)
}
