//! Asks the guest to shut down and waits until the machine is off. Called by `lifecycle`, which kills what does not follow.

use std::sync::Arc;
use std::time::Duration;

use lighter_protocol::{Reply, Request, ports};

use super::fault::chain;
use super::patience::Patience;
use crate::frames;
use crate::machine::{End, Machine};
use crate::plain;

/// Returns when the machine is off; otherwise why it is not.
pub async fn ask(machine: &Arc<dyn Machine>, grace_seconds: u32, patience: Patience) -> Result<(), String> {
    let asked = tokio::time::timeout(patience.ping, request(machine, grace_seconds)).await;
    asked.map_err(|_| "the agent does not answer".to_owned())??;
    let limit = Duration::from_secs(u64::from(grace_seconds)) + patience.unmount;
    match tokio::time::timeout(limit, machine.wait()).await {
        Ok(End::Crashed(reason)) => Err(plain::plain(&reason)),
        Ok(_) => Ok(()),
        Err(_) => Err(format!("the guest was not off after {} s", limit.as_secs())),
    }
}

async fn request(machine: &Arc<dyn Machine>, grace_seconds: u32) -> Result<(), String> {
    let mut stream = machine.dial(ports::CONTROL).await.map_err(|error| chain(&error))?;
    frames::write(&mut stream, &Request::Shutdown { grace_seconds }).await.map_err(|error| chain(&error))?;
    match frames::read::<Reply>(&mut stream).await {
        Ok(Reply::Done) => Ok(()),
        Ok(Reply::Error { message }) => Err(plain::plain(&message)),
        Ok(_) => Err("the agent gave an unexpected answer".to_owned()),
        // It may have gone faster than its answer came.
        Err(_) => Ok(()),
    }
}
