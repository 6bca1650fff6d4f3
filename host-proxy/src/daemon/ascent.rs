//! From power on to a dockerd that answers, stage by stage, each with a deadline. Called by `lifecycle`.

use std::sync::Arc;
use std::time::Duration;

use lighter_protocol::Event;

use super::board::Board;
use super::fault::Fault;
use super::hello::{self, Events, Welcome};
use super::patience::Patience;
use super::ping;
use crate::machine::Machine;
use crate::plain;

/// From power on to a dockerd that answers. `events` is filled as soon as the agent has said hello.
pub async fn ascend(
    board: &Board,
    machine: &Arc<dyn Machine>,
    welcome: &Welcome,
    patience: Patience,
    events: &mut Option<Events>,
) -> Result<(), Fault> {
    board.stage("boot", "booting the guest");
    let greeted = tokio::time::timeout(patience.hello, hello::greet(machine, welcome)).await;
    let events = events.insert(greeted.map_err(|_| Fault::late("the agent's hello", patience.hello))??);
    board.stage("agent", "the guest's agent is there");
    let ready = tokio::time::timeout(patience.ready, until_ready(board, events, patience.stage)).await;
    let version = ready.map_err(|_| Fault::late("dockerd", patience.ready))??;
    board.learn(None, [("engine".to_owned(), version)]);
    let pinged = tokio::time::timeout(patience.ping, ping::ping(machine)).await;
    pinged.map_err(|_| Fault::late("an answer to GET /_ping", patience.ping))?.map_err(Fault::Ping)?;
    board.stage("ping", "the Docker API answers");
    Ok(())
}

/// Follows the agent's reports until the engine is ready; its version.
async fn until_ready(board: &Board, events: &mut Events, patience: Duration) -> Result<String, Fault> {
    let mut last = "hello".to_owned();
    loop {
        let event = tokio::time::timeout(patience, events.next()).await;
        match event.map_err(|_| Fault::late(format!("the stage after `{last}`"), patience))? {
            Some(Event::Stage { name, uptime_ms }) => {
                board.guest_stage(&name, stage_text(&name), uptime_ms);
                last = plain::one_line(&name).chars().take(40).collect();
            }
            Some(Event::Ready { engine_version, uptime_ms }) => {
                board.guest_stage("ready", "dockerd is ready", uptime_ms);
                return Ok(plain::one_line(&engine_version).chars().take(80).collect());
            }
            Some(Event::EngineDown { reason }) => {
                board.stage("engine-down", &format!("the engine failed, trying again: {}", plain::one_line(&reason)));
            }
            Some(Event::Failed { stage, reason }) => {
                return Err(Fault::guest(&stage, &reason));
            }
            Some(Event::Stopped) | None => return Err(Fault::AgentGone { last }),
        }
    }
}

/// What a stage of the agent means.
pub fn stage_text(name: &str) -> &str {
    match name {
        "pid1" => "the guest's kernel is up",
        "hello" => "the agent was welcomed",
        "root" => "the guest's system is mounted",
        "data" => "the data disk is mounted",
        "containerd" => "containerd is up",
        "dockerd" => "dockerd is up",
        "demo" => "the demo image is loaded",
        other => other,
    }
}
