//! From power on to a dockerd that answers, stage by stage, each with a deadline. Called by `lifecycle`.

use std::sync::Arc;

use lighter_protocol::Event;
use tokio::time::Instant;

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
    let version = until_ready(board, events, patience).await?;
    board.learn(None, [("engine".to_owned(), version)]);
    let pinged = tokio::time::timeout(patience.ping, ping::ping(machine)).await;
    pinged.map_err(|_| Fault::late("an answer to GET /_ping", patience.ping))?.map_err(Fault::Ping)?;
    board.stage("ping", "the Docker API answers");
    Ok(())
}

/// Follows the agent's reports until the engine is ready; its version.
async fn until_ready(board: &Board, events: &mut Events, patience: Patience) -> Result<String, Fault> {
    let mut last = "hello".to_owned();
    let mut busy = false;
    // What takes long and shows that it lives is not counted.
    let mut ready = Instant::now() + patience.ready;
    let most = Instant::now() + patience.busy;
    loop {
        let asked = Instant::now();
        let (limit, late) = if ready < asked + patience.stage {
            (ready, Fault::late("dockerd", patience.ready))
        } else {
            (asked + patience.stage, Fault::late(format!("the stage after `{last}`"), patience.stage))
        };
        let event = tokio::time::timeout_at(limit, events.next()).await.map_err(|_| late)?;
        if busy && asked < most {
            ready += asked.elapsed();
        }
        busy = matches!(event, Some(Event::Busy { .. }));
        match event {
            Some(Event::Stage { name, uptime_ms }) => {
                board.guest_stage(&name, stage_text(&name), uptime_ms);
                last = plain::one_line(&name).chars().take(40).collect();
            }
            Some(Event::Busy { doing }) => {
                let doing: String = plain::one_line(&doing).chars().take(40).collect();
                if doing != last {
                    board.stage(&doing, stage_text(&doing));
                    last = doing;
                }
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
        "check" => "the data disk was not left in order and is being checked; a large one takes long",
        "data" => "the data disk is mounted",
        "containerd" => "containerd is up",
        "dockerd" => "dockerd is up",
        "demo" => "the demo image is loaded",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use lighter_vmm::EngineKind;

    use super::*;
    use crate::control::Phase;

    const PATIENCE: Duration = Duration::from_secs(3600);

    async fn follow(script: Vec<(Duration, Event)>) -> Result<String, Fault> {
        let (sender, mut events) = Events::scripted();
        tokio::spawn(async move {
            for (pause, event) in script {
                tokio::time::sleep(pause).await;
                if sender.send(event).await.is_err() {
                    return;
                }
            }
            tokio::time::sleep(PATIENCE * 1000).await;
        });
        let board = Board::new(Phase::Starting, std::time::Instant::now());
        until_ready(&board, &mut events, Patience::of(EngineKind::Kvm)).await
    }

    fn ready() -> Event {
        Event::Ready { engine_version: "26.1.5".into(), uptime_ms: 1 }
    }

    fn beats(count: usize) -> Vec<(Duration, Event)> {
        vec![(Duration::from_secs(5), Event::Busy { doing: "check".into() }); count]
    }

    #[tokio::test(start_paused = true)]
    async fn a_check_of_the_disk_that_takes_an_hour_is_waited_for() {
        let mut script = beats(3600 / 5);
        script.push((Duration::from_secs(5), Event::Stage { name: "data".into(), uptime_ms: 1 }));
        script.push((Duration::from_secs(9), ready()));
        assert_eq!(follow(script).await.unwrap(), "26.1.5");
    }

    #[tokio::test(start_paused = true)]
    async fn a_check_that_shows_no_life_or_never_ends_is_given_up_by_name() {
        let silent = follow(beats(3)).await.unwrap_err();
        assert_eq!(silent.to_string(), "Waited 180 s for the stage after `check`");
        let endless = follow(beats(100_000)).await.unwrap_err();
        assert_eq!(endless.to_string(), "Waited 600 s for dockerd");
    }

    #[tokio::test(start_paused = true)]
    async fn an_engine_that_fails_again_and_again_is_given_up_although_it_reports() {
        let down = || (Duration::from_secs(10), Event::EngineDown { reason: "no".into() });
        let failed = follow((0..100).map(|_| down()).collect()).await.unwrap_err();
        assert_eq!(failed.to_string(), "Waited 600 s for dockerd");
    }
}
