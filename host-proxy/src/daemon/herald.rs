//! Passes changes in shared folders on to the guest's agent, one after the other, so that programs in containers get events of
//! what is edited here. Called by `lifecycle` for as long as the machine is in service.

use std::collections::VecDeque;
use std::future::pending;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use lighter_protocol::{Raise, Raised, Reply, Request, ports};
use lighter_vmm::virtio::fs::events::{Happening, Happenings, Waiting};
use lighter_vmm::virtio::fs::{NativeFs, Server};
use tokio::io::AsyncReadExt;

use super::fault::chain;
use crate::frames;
use crate::guest::BoxedStream;
use crate::machine::Machine;

/// What comes within this time of each other is looked at together: saving a file is several changes of it.
const SETTLE: Duration = Duration::from_millis(5);
/// Most changes looked at together.
const TOGETHER: usize = 1024;
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

/// Changes that are being told, also by the agent that comes after one that hung up; what was just told when it did is lost.
#[derive(Default)]
struct Rest {
    happenings: VecDeque<Happening>,
    /// All of them wait until the last one is told.
    waiting: Vec<Waiting>,
}

async fn pass_on(
    machine: &dyn Machine,
    server: &Server<NativeFs>,
    happenings: &mut Happenings,
    rest: &mut Rest,
) -> io::Result<std::convert::Infallible> {
    let mut agent = machine.dial(ports::CONTROL).await?;
    frames::write(&mut agent, &Request::Herald).await.map_err(io::Error::other)?;
    match timely(frames::read::<Reply>(&mut agent)).await? {
        Reply::Herald { thread } => server.herald(thread),
        other => return Err(io::Error::other(format!("the agent answered {other:?}"))),
    }
    loop {
        for raise in server.outdated(rest.happenings.make_contiguous()) {
            server.arm_outdated();
            let done = tell(&mut agent, &raise).await;
            server.disarm();
            done?;
        }
        while let Some(happening) = rest.happenings.pop_front() {
            let Some(raise) = server.arm(&happening) else { continue };
            let done = tell(&mut agent, &raise).await;
            server.disarm();
            if let Some(errno) = done?.errno {
                tracing::debug!(?raise, errno, "A change in a folder made no event in the guest");
            }
        }
        rest.waiting.clear();
        let first = tokio::select! {
            first = happenings.next() => first,
            // It says nothing unasked: whatever comes here, it does not listen any more.
            _ = agent.read_u8() => return Err(io::ErrorKind::UnexpectedEof.into()),
        };
        let Some((first, waits)) = first else { return pending().await };
        rest.waiting.push(waits);
        tokio::time::sleep(SETTLE).await;
        let mut together = vec![first];
        while together.len() < TOGETHER
            && let Some((next, waits)) = happenings.next_now()
        {
            together.push(next);
            rest.waiting.push(waits);
        }
        rest.happenings = settled(together);
    }
}

async fn tell(agent: &mut BoxedStream, raise: &Raise) -> io::Result<Raised> {
    frames::write(agent, raise).await.map_err(io::Error::other)?;
    timely(frames::read::<Raised>(agent)).await
}

async fn timely<T>(answer: impl Future<Output = Result<T, frames::FrameError>>) -> io::Result<T> {
    let late = |_| io::Error::from(io::ErrorKind::TimedOut);
    tokio::time::timeout(PATIENCE, answer).await.map_err(late)?.map_err(io::Error::other)
}

/// Changes without those that the next one of the same kind says as well: a file that is written to in a thousand pieces has
/// other content once.
fn settled(together: Vec<Happening>) -> VecDeque<Happening> {
    let mut kept: VecDeque<Happening> = VecDeque::with_capacity(together.len());
    for happening in together.into_iter().rev() {
        let repeats = match &happening {
            Happening::Content(at) | Happening::Attributes(at) => {
                kept.iter().take_while(|later| !moves(later, at)).any(|later| *later == happening)
            }
            Happening::Made(..) | Happening::Removed(..) | Happening::Renamed(..) => false,
        };
        if !repeats {
            kept.push_front(happening);
        }
    }
    kept
}

/// Whether it changes what this name stands for.
fn moves(happening: &Happening, at: &lighter_vmm::virtio::fs::events::At) -> bool {
    match happening {
        Happening::Made(other, _) | Happening::Removed(other, _) => other == at,
        Happening::Renamed(from, to) => from == at || to == at,
        Happening::Content(_) | Happening::Attributes(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use lighter_vmm::virtio::fs::events::At;
    use lighter_vmm::virtio::fs::host::Kind;

    use super::*;

    #[test]
    fn content_written_in_pieces_is_told_of_once_but_not_across_another_file_of_that_name() {
        let at = |name: &str| At { folder: 1, name: name.into() };
        let (content, other) = (Happening::Content(at("a")), Happening::Content(at("b")));
        let replaced = Happening::Renamed(at("new"), at("a"));
        let told = settled(vec![
            content.clone(),
            content.clone(),
            other.clone(),
            content.clone(),
            replaced.clone(),
            content.clone(),
            content.clone(),
        ]);
        assert_eq!(told, [other, content.clone(), replaced, content]);
        let made = Happening::Made(at("a"), Kind::File);
        assert_eq!(settled(vec![made.clone(), made.clone()]).len(), 2, "each is one");
    }
}
