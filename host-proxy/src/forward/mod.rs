//! Published ports: where `docker run -p` ends. The guest's agent asks for each port on a connection of its own and the host
//! listens as long as that connection lives, so nothing is ever left listening. Started by `daemon::lifecycle` with
//! the machine.
//!
//! ```text
//!   a call ──no secret, no frame, too slow──► dropped
//!      │
//!   checked ──not to be had──► Refused, with cause and cure (`bind`) ──► over
//!      │
//!   Listening, and in the list ──the call ends──► listens no more ──► our side of it ends
//!                                                      └──► connections have `DRAIN` to end by themselves ──► reset
//! ```
//! Everything that is said in a call is hostile: guest root learns the secret, and gets listeners as the settings allow, at
//! most [`MOST_PORTS`], and nothing else.

use std::sync::Arc;
use std::time::Duration;

use lighter_protocol::{Port, Publish, Published, Transport};
use lighter_vmm::rate_limit::RateLimit;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::{AbortHandle, JoinSet};

use crate::frames;
use crate::guest::BoxedStream;
use crate::machine::Incoming;
use crate::net::{Datagrams, Inward};
use crate::settings;

/// Addresses to listen on, and errors in words.
mod bind;
/// What is published.
mod list;
/// Names of containers.
mod names;
/// Clients over TCP.
mod streams;
#[cfg(test)]
mod tests;

pub use list::{List, PublishedPort};
pub use names::name;

use bind::Open;
use streams::Streams;

/// How long a caller may take to say its secret and what it wants.
const CALLER: Duration = Duration::from_secs(5);
/// Most callers that are listened to at the same time.
const MOST_CALLERS: usize = 64;
/// Most published ports.
const MOST_PORTS: usize = 4096;
/// How long connections of a port that is given up may take to end.
const DRAIN: Duration = Duration::from_secs(5);

/// What may be published and how.
pub struct Rules {
    /// The boot secret, without which nobody is heard.
    pub secret: String,
    /// Who reaches ports without an address.
    pub publish: settings::Publish,
    /// The way into the guest; `None` where the machine has no network.
    pub inward: Option<Inward>,
    /// Where it is written down.
    pub list: Arc<List>,
}

/// All published ports of one machine; dropping it listens no more and ends every connection.
#[derive(Debug)]
pub struct Forwarding(AbortHandle);

impl Forwarding {
    /// Serves the calls of a machine. Called inside a tokio runtime.
    pub fn start(calls: Box<dyn Incoming>, rules: Rules) -> Self {
        Self(tokio::spawn(serve(calls, Arc::new(rules))).abort_handle())
    }
}

impl Drop for Forwarding {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn serve(mut calls: Box<dyn Incoming>, rules: Arc<Rules>) {
    let mut callers = JoinSet::new();
    let mut ports = JoinSet::new();
    let mut strangers = RateLimit::default();
    loop {
        tokio::select! {
            // Some more than there may be ports, so that those hear why.
            call = calls.accept(), if callers.len() < MOST_CALLERS && ports.len() < MOST_PORTS + MOST_CALLERS => {
                // The machine is gone.
                let Some(call) = call else { return };
                let rules = Arc::clone(&rules);
                callers.spawn(async move { tokio::time::timeout(CALLER, hear(call, &rules.secret)).await.ok()? });
            }
            Some(heard) = callers.join_next() => match heard {
                Ok(Some((call, port))) => {
                    let room = ports.len() < MOST_PORTS;
                    ports.spawn(keep(call, port, Arc::clone(&rules), room));
                }
                _ => {
                    if let Some(held_back) = strangers.allow() {
                        tracing::warn!(held_back, "Somebody in the guest asked for a port without the boot secret");
                    }
                }
            },
            Some(_) = ports.join_next() => {}
        }
    }
}

/// The port that a caller wants who knows the secret.
async fn hear(mut call: BoxedStream, secret: &str) -> Option<(BoxedStream, Port)> {
    let publish: Publish = frames::read(&mut call).await.ok()?;
    same(publish.secret.as_bytes(), secret.as_bytes()).then_some((call, publish.port))
}

/// Compares in a time that does not depend on where the difference is.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |difference, (x, y)| difference | (x ^ y)) == 0
}

/// One port, from the answer to its end.
async fn keep(mut call: BoxedStream, port: Port, rules: Arc<Rules>, room: bool) {
    let opened = if room { open(&port, &rules) } else { Err(bind::too_many(MOST_PORTS)) };
    let (open, inward) = match opened {
        Ok(opened) => opened,
        Err(message) => {
            tracing::info!(?port, message, "A port is not published");
            let refused = async {
                frames::write(&mut call, &Published::Refused { message }).await?;
                // The caller's end, so that it has read why; it has no reason to take long.
                ended(&mut call).await;
                Ok::<(), frames::FrameError>(())
            };
            drop(tokio::time::timeout(CALLER, refused).await);
            return;
        }
    };
    let entry = open.address().map(|address| rules.list.add(address, &port));
    let container = (port.container_ip, port.container_port).into();
    let answered = tokio::time::timeout(CALLER, frames::write(&mut call, &Published::Listening)).await;
    let mut streams = JoinSet::new();
    if matches!(answered, Ok(Ok(()))) {
        match open {
            Open::Nothing => ended(&mut call).await,
            Open::Stream(listener) => {
                let accepting = Streams::new(inward, listener, container, &mut streams).serve();
                tokio::select! { () = ended(&mut call) => {}, () = accepting => {} }
            }
            Open::Datagram(socket) => {
                let passing = Datagrams::new(inward, socket, container).serve();
                tokio::select! { () = ended(&mut call) => {}, () = passing => {} }
            }
        }
    }
    // From here on nobody listens, and only now is that said.
    drop(entry);
    drop(tokio::time::timeout(CALLER, call.shutdown()).await);
    drop(call);
    let _ = tokio::time::timeout(DRAIN, async { while streams.join_next().await.is_some() {} }).await;
}

/// Listens, if the settings and the system allow it.
fn open(port: &Port, rules: &Rules) -> Result<(Open, Inward), String> {
    let inward = rules.inward.clone().ok_or_else(bind::no_network)?;
    if port.protocol == Transport::Sctp {
        return Err(bind::no_sctp());
    }
    Ok((bind::open(port, rules.publish, &rules.list)?, inward))
}

/// Until the caller ends its side, or says something, which it has no reason to.
async fn ended(call: &mut BoxedStream) {
    let _ = call.read(&mut [0; 1]).await;
}
