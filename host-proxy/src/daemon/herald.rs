//! Passes changes in shared folders on to the guest's agent, one after the other, so that programs in containers get events of
//! what is edited here. Called by `lifecycle` for as long as the machine is in service.

use std::collections::{HashSet, VecDeque};
use std::convert::Infallible;
use std::future::pending;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use lighter_protocol::{Raise, Raised, Reply, Request, ports};
use lighter_vmm::virtio::fs::events::{At, Happening, Happenings, Waiting};
use lighter_vmm::virtio::fs::{NativeFs, Server};
use tokio::io::AsyncReadExt;

use super::fault::chain;
use crate::frames;
use crate::guest::BoxedStream;
use crate::machine::Machine;

/// What comes within this time of each other is looked at together: saving a file is several changes of it.
const SETTLE: Duration = Duration::from_millis(5);
/// Most changes looked at together.
const TOGETHER: usize = 4096;
/// Told before what has come meanwhile is looked at: much of it may be old in the guest until its turn comes.
const AT_ONCE: usize = 64;
/// For the agent to do one.
const PATIENCE: Duration = Duration::from_secs(10);
/// After the agent could not be reached.
const PAUSE: Duration = Duration::from_secs(2);

/// Does that until it is dropped. Without folders, or on a host that reports no changes, it has nothing to do.
pub async fn keep(machine: &dyn Machine, server: Option<Arc<Server<NativeFs>>>) {
    let Some(server) = server else { return pending().await };
    let mut happenings = match server.watch() {
        Ok(Some(happenings)) => happenings,
        Ok(None) => return pending().await,
        Err(error) => {
            tracing::warn!(%error, "Changes on this computer make no events in containers");
            return pending().await;
        }
    };
    let mut rest = Rest::default();
    loop {
        let Err(error) = pass_on(machine, &server, &mut happenings, &mut rest).await;
        server.herald(0);
        tracing::debug!(error = chain(&error), "The agent takes no changes of folders; trying again");
        tokio::time::sleep(PAUSE).await;
    }
}

/// Changes that are being told, also by the agent that comes after one that hung up; what was just told when it did is lost. Each
/// waits until it is told.
type Rest = VecDeque<(Happening, Waiting)>;

async fn pass_on(
    machine: &dyn Machine,
    server: &Server<NativeFs>,
    happenings: &mut Happenings,
    rest: &mut Rest,
) -> io::Result<Infallible> {
    let mut agent = machine.dial(ports::CONTROL).await?;
    frames::write(&mut agent, &Request::Herald).await.map_err(io::Error::other)?;
    match timely(frames::read::<Reply>(&mut agent)).await? {
        Reply::Herald { thread } => server.herald(thread),
        other => return Err(io::Error::other(format!("the agent answered {other:?}"))),
    }
    tell_all(&mut agent, server, happenings, rest).await
}

async fn tell_all(
    agent: &mut BoxedStream,
    server: &Server<NativeFs>,
    happenings: &mut Happenings,
    rest: &mut Rest,
) -> io::Result<Infallible> {
    loop {
        let mut fresh = Vec::new();
        if rest.is_empty() {
            let first = tokio::select! {
                first = happenings.next() => first,
                // It says nothing unasked: whatever comes here, it does not listen any more.
                _ = agent.read_u8() => return Err(io::ErrorKind::UnexpectedEof.into()),
            };
            let Some(first) = first else { return pending().await };
            fresh.push(first);
            tokio::time::sleep(SETTLE).await;
        }
        while rest.len() + fresh.len() < TOGETHER
            && let Some(next) = happenings.next_now()
        {
            fresh.push(next);
        }
        let outdated = server.outdated(&fresh.iter().map(|(happening, _)| happening).collect::<Vec<_>>());
        if !fresh.is_empty() {
            rest.extend(fresh);
            *rest = settled(std::mem::take(rest));
        }
        for raise in outdated {
            server.arm_outdated();
            tell(agent, server, &raise).await?;
        }
        for _ in 0..AT_ONCE {
            let Some((happening, _waiting)) = rest.pop_front() else { break };
            let Some(raise) = server.arm(&happening) else { continue };
            if let Some(errno) = tell(agent, server, &raise).await?.errno {
                tracing::debug!(?raise, errno, "A change in a folder made no event in the guest");
            }
        }
    }
}

/// Has the agent do what the server is armed for.
async fn tell(agent: &mut BoxedStream, server: &Server<NativeFs>, raise: &Raise) -> io::Result<Raised> {
    let done = async {
        frames::write(agent, raise).await.map_err(io::Error::other)?;
        timely(frames::read::<Raised>(agent)).await
    }
    .await;
    server.disarm();
    done
}

async fn timely<T>(answer: impl Future<Output = Result<T, frames::FrameError>>) -> io::Result<T> {
    let late = |_| io::Error::from(io::ErrorKind::TimedOut);
    tokio::time::timeout(PATIENCE, answer).await.map_err(late)?.map_err(io::Error::other)
}

/// Changes without those that a later one of the same kind says as well: a file that is written to in a thousand pieces has
/// other content once.
fn settled<W>(together: VecDeque<(Happening, W)>) -> VecDeque<(Happening, W)> {
    let mut kept = VecDeque::with_capacity(together.len());
    // What is said later, as long as the name stands for the same.
    let mut said = HashSet::new();
    for (happening, waiting) in together.into_iter().rev() {
        let repeats = match &happening {
            Happening::Content(at) => !said.insert((at.clone(), Change::Content)),
            Happening::Attributes(at) => !said.insert((at.clone(), Change::Attributes)),
            Happening::Made(at, _) | Happening::Removed(at, _) => {
                forget(&mut said, at);
                false
            }
            Happening::Renamed(from, to) => {
                forget(&mut said, from);
                forget(&mut said, to);
                false
            }
        };
        if !repeats {
            kept.push_front((happening, waiting));
        }
    }
    kept
}

#[derive(PartialEq, Eq, Hash)]
enum Change {
    Content,
    Attributes,
}

fn forget(said: &mut HashSet<(At, Change)>, at: &At) {
    said.remove(&(at.clone(), Change::Content));
    said.remove(&(at.clone(), Change::Attributes));
}

#[cfg(test)]
mod tests;
