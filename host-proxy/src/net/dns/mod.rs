//! The name server of the guest: what the host can resolve, containers can. Names of ours and of the hosts file are answered
//! here; every other question goes to the host's own name servers as it is, whatever record it asks for, and their answer goes
//! back as it is.
//!
//! In the hosts file a loopback address means "this host", so containers get the alias of the host for it.
//!
//! Bounds: [`MOST`] questions at the same time, more are dropped and will be asked again; messages of at most 64 KiB; an idle
//! stream is closed after [`IDLE`].

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Semaphore;
use tokio::time::{Duration, timeout};

use super::datagram::Egress;
use super::plan;
use super::policy::Policy;

mod files;
mod message;
mod upstream;

use message::{Code, Query};

/// Most questions at the same time.
const MOST: usize = 256;
/// How long a stream may stay without a question.
const IDLE: Duration = Duration::from_secs(10);
/// Longest hosts file or resolv.conf that is read, in bytes; some block lists have several MiB.
const LONGEST_FILE: u64 = 16 << 20;

/// The guest's name server.
#[derive(Debug)]
pub struct Dns {
    hosts: PathBuf,
    resolv_conf: PathBuf,
    policy: Policy,
    room: Semaphore,
}

/// Over which transport a question came.
#[derive(Clone, Copy)]
enum Transport {
    Datagram,
    Stream,
}

impl Dns {
    /// By these files of the host; they need not exist.
    pub fn new(hosts: PathBuf, resolv_conf: PathBuf, policy: Policy) -> Self {
        Self { hosts, resolv_conf, policy, room: Semaphore::new(MOST) }
    }

    /// The host's search domains.
    pub fn search(&self) -> Vec<String> {
        files::resolver(&read(&self.resolv_conf)).search
    }

    /// Takes a question from `guest` to `gateway`; the answer goes out when there is one. Called inside a tokio runtime.
    pub fn receive(self: &Arc<Self>, question: &[u8], guest: SocketAddr, gateway: SocketAddr, egress: &Egress) {
        let (dns, egress, question) = (Arc::clone(self), egress.clone(), question.to_vec());
        if self.room.available_permits() == 0 {
            return;
        }
        tokio::spawn(async move {
            let Ok(_permit) = dns.room.try_acquire() else { return };
            if let Some(answer) = dns.resolve(&question, Transport::Datagram).await {
                egress.udp(gateway, guest, &answer);
            }
        });
    }

    /// Answers questions on a stream until it ends.
    pub async fn serve_stream(&self, mut stream: impl AsyncRead + AsyncWrite + Unpin) {
        // An error, an end and a long silence are the same here.
        while let Ok(Ok(Some(question))) = timeout(IDLE, upstream::read(&mut stream)).await {
            let Ok(_permit) = self.room.acquire().await else { return };
            let Some(answer) = self.resolve(&question, Transport::Stream).await else { return };
            if upstream::write(&mut stream, &answer).await.is_err() {
                return;
            }
        }
    }

    async fn resolve(&self, bytes: &[u8], transport: Transport) -> Option<Vec<u8>> {
        let query = match Query::parse(bytes) {
            Ok(query) => query,
            Err(code) => return message::refuse(bytes, code?),
        };
        if let Some(addresses) = self.own(&query) {
            return Some(query.answer(&addresses));
        }
        let servers = files::resolver(&read(&self.resolv_conf)).servers;
        let answer = match transport {
            _ if servers.is_empty() => return Some(by_system(&query).await),
            Transport::Datagram => upstream::ask(&servers, &query, bytes).await,
            Transport::Stream => upstream::ask_stream(&servers, &query, bytes).await,
        };
        Some(match (answer, transport) {
            (None, _) => query.fail(Code::Server),
            // A server that sends more than was asked for; asked over TCP, it will send all of it.
            (Some(answer), Transport::Datagram) if answer.len() > query.room() => query.truncated(),
            (Some(answer), _) => answer,
        })
    }

    /// The addresses of a name that needs no name server.
    fn own(&self, query: &Query<'_>) -> Option<Vec<IpAddr>> {
        if !query.is_internet() {
            return None;
        }
        match query.name.as_str() {
            // Not for IPv6: bridge networks have none unless asked for, and some programs try only the first address.
            "host.docker.internal" => return Some(vec![plan::HOST_V4.into()]),
            "gateway.docker.internal" => return Some(vec![plan::GATEWAY_V4.into()]),
            _ => {}
        }
        let found = files::addresses(&read(&self.hosts), &query.name);
        if found.is_empty() || !query.is_for_address() {
            return None;
        }
        if query.name == "localhost" {
            return Some(found);
        }
        let mut seen: Vec<IpAddr> = Vec::new();
        for address in found {
            let address = if address.is_loopback() { self.alias() } else { Some(address) };
            seen.extend(address.filter(|address| !seen.contains(address)));
        }
        Some(seen)
    }

    /// What containers see of the host's loopback.
    fn alias(&self) -> Option<IpAddr> {
        self.policy.host_access.then_some(plan::HOST_V4.into())
    }
}

/// On a host whose list of name servers is no file: by the system's own resolver, which knows addresses only.
async fn by_system(query: &Query<'_>) -> Vec<u8> {
    if !query.is_for_address() {
        return query.fail(Code::NotImplemented);
    }
    let name = query.name.clone();
    match tokio::net::lookup_host((name.as_str(), 0)).await {
        Ok(found) => query.answer(&found.map(|address| address.ip()).collect::<Vec<_>>()),
        Err(error) => {
            tracing::debug!(name, %error, "the system does not resolve a name");
            query.fail(Code::Server)
        }
    }
}

/// A file's text; nothing if there is none.
fn read(path: &std::path::Path) -> String {
    use std::io::Read;
    let mut bytes = Vec::new();
    if let Ok(file) = std::fs::File::open(path) {
        // Half a file is better than none.
        let _ = file.take(LONGEST_FILE).read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests;
