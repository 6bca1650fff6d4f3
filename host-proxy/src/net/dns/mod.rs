//! The name server of the guest: what the host can resolve, containers can. Names of ours and of the hosts file are answered
//! here; every other question goes to the host's own name servers as it is, whatever record it asks for, and their answer goes
//! back as it is.
//!
//! The guest is told the host's search domains when it starts, and can be told no others later. Those that come with a VPN
//! meanwhile are tried here, for a name of one label that nobody knows: see `Dns::in_new_domains`.
//!
//! In the hosts file a loopback address means "this host", so containers get the alias of the host for it.
//!
//! Bounds: [`MOST`] questions at the same time, shared between containers by `places`; more are dropped and will be asked
//! again. Messages of at most 64 KiB on streams and [`LONGEST`] in datagrams; a stream is closed after [`IDLE`] without a
//! question, and when nobody takes an answer for as long. How many streams there are is `tcp`'s affair.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Semaphore;
use tokio::time::{Duration, timeout};

use super::datagram::Egress;
use super::plan;
use super::policy::{HostAccess, Policy};

/// What reads names, for the fuzz targets.
pub mod reading {
    pub use super::files::{Hosts, Resolver, resolver};
    pub use super::message::{Code, Query, id, refuse, with_id};
    pub use super::records::addresses;
}

mod files;
mod message;
mod places;
mod records;
mod upstream;
mod watched;

use files::{Hosts, Resolver};
use message::{Code, Query};
use places::Places;
use watched::Watched;

/// Most questions at the same time.
const MOST: usize = 256;
/// How long names are looked for in domains that the guest does not know: its resolver waits for the answer that there is already.
const NEW_DOMAINS: Duration = Duration::from_secs(2);
/// How long a stream may stay without a question.
const IDLE: Duration = Duration::from_secs(10);
/// Longest question in a datagram, in bytes; a name has 255 at most, and the rest is options.
const LONGEST: usize = 4096;
/// Most names that the system's own resolver is asked for at the same time: each takes a thread, for as long as it likes.
const MOST_BY_SYSTEM: usize = 32;

/// The guest's name server.
#[derive(Debug)]
pub struct Dns {
    hosts: Watched<Hosts>,
    resolver: Watched<Resolver>,
    /// The search domains that the guest knows.
    told: Mutex<Vec<String>>,
    policy: Policy,
    places: Places,
    by_system: Arc<Semaphore>,
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
        let resolver = Watched::new(resolv_conf, |text| files::resolver(&text));
        let by_system = Arc::new(Semaphore::new(MOST_BY_SYSTEM));
        let hosts = Watched::new(hosts, Hosts::new);
        let told = Mutex::default();
        Self { hosts, resolver, told, policy, places: Places::new(MOST), by_system }
    }

    /// The host's search domains as they are now, for the guest.
    pub fn search(&self) -> Vec<String> {
        let search = self.resolver.read_now().search;
        self.told.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&search);
        search
    }

    /// Takes a question from `guest` to `gateway`; the answer goes out when there is one. Called inside a tokio runtime.
    pub fn receive(self: &Arc<Self>, question: &[u8], guest: SocketAddr, gateway: SocketAddr, egress: &Egress) {
        if question.len() > LONGEST {
            return;
        }
        let (dns, egress, question) = (Arc::clone(self), egress.clone(), question.to_vec());
        let Some(place) = self.places.take(guest.ip()) else { return };
        tokio::spawn(async move {
            if let Some(answer) = place.during(dns.resolve(&question, Transport::Datagram)).await {
                egress.udp(gateway, guest, &answer);
            }
        });
    }

    /// Answers `asker`'s questions on a stream until it ends.
    pub async fn serve_stream(&self, mut stream: impl AsyncRead + AsyncWrite + Unpin, asker: IpAddr) {
        // An error, an end and a long silence are the same here.
        while let Ok(Ok(Some(question))) = timeout(IDLE, upstream::read(&mut stream)).await {
            // The place is for the question alone: whoever does not read its answers keeps nobody else from asking.
            let Some(place) = self.places.take(asker) else { return };
            let Some(answer) = place.during(self.resolve(&question, Transport::Stream)).await else { return };
            if !matches!(timeout(IDLE, upstream::write(&mut stream, &answer)).await, Ok(Ok(()))) {
                return;
            }
        }
    }

    async fn resolve(&self, bytes: &[u8], transport: Transport) -> Option<Vec<u8>> {
        let query = match Query::parse(bytes) {
            Ok(query) => query,
            Err(code) => return message::refuse(bytes, code?),
        };
        if let Some(addresses) = self.own(&query).await {
            return Some(query.answer(&addresses));
        }
        let resolver = self.resolver.get().await;
        let servers = &resolver.servers;
        let answer = match transport {
            _ if servers.is_empty() => return Some(self.by_system(&query).await),
            Transport::Datagram => upstream::ask(servers, &query, bytes).await,
            Transport::Stream => upstream::ask_stream(servers, &query, bytes).await,
        };
        if let Some(answer) = &answer
            && message::is_failure(answer)
            && let Ok(Some(found)) = timeout(NEW_DOMAINS, self.in_new_domains(&query, &resolver)).await
        {
            return Some(query.answer(&found));
        }
        Some(match (answer, transport) {
            (None, _) => query.fail(Code::Server),
            // A server that sends more than was asked for; asked over TCP, it will send all of it.
            (Some(answer), Transport::Datagram) if answer.len() > query.room() => query.truncated(),
            (Some(answer), _) => answer,
        })
    }

    /// The addresses of a name of one label, which no server knows as it is, in the search domains that the host has got since
    /// the guest was told. A resolver in the guest asks for such a name as it is after it has tried the domains that it knows. As
    /// long as the host's file says what it said then, nothing more is asked than the guest does.
    async fn in_new_domains(&self, query: &Query<'_>, resolver: &Resolver) -> Option<Vec<IpAddr>> {
        let is_short = query.is_for_address() && !query.name.is_empty() && !query.name.contains('.');
        if !is_short {
            return None;
        }
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for domain in resolver.search.iter().filter(|domain| !told.contains(domain)) {
            let Some(bytes) = query.within(domain) else { continue };
            let Ok(longer) = Query::parse(&bytes) else { continue };
            let found = upstream::ask(&resolver.servers, &longer, &bytes).await;
            let found = found.map(|answer| records::addresses(&answer)).unwrap_or_default();
            if !found.is_empty() {
                return Some(found);
            }
        }
        None
    }

    /// The addresses of a name that needs no name server.
    async fn own(&self, query: &Query<'_>) -> Option<Vec<IpAddr>> {
        if !query.is_internet() {
            return None;
        }
        match query.name.as_str() {
            // Not for IPv6: bridge networks have none unless asked for, and some programs try only the first address.
            "host.docker.internal" => return Some(vec![plan::HOST_V4.into()]),
            "gateway.docker.internal" => return Some(vec![plan::GATEWAY_V4.into()]),
            _ => {}
        }
        let found = self.hosts.get().await.addresses(&query.name);
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
        (self.policy.host_access != HostAccess::No).then_some(plan::HOST_V4.into())
    }

    /// On a host whose list of name servers is no file: by the system's own resolver, which knows addresses only.
    async fn by_system(&self, query: &Query<'_>) -> Vec<u8> {
        if !query.is_for_address() {
            return query.fail(Code::NotImplemented);
        }
        let (name, room) = (query.name.clone(), Arc::clone(&self.by_system));
        // Its thread cannot be stopped, so its room is taken until it is done, whoever waits for it.
        let found = tokio::spawn(async move {
            let _room = room.acquire_owned().await.map_err(std::io::Error::other)?;
            Ok(tokio::net::lookup_host((name.as_str(), 0)).await?.map(|address| address.ip()).collect::<Vec<_>>())
        });
        match found.await.unwrap_or_else(|panicked| Err(std::io::Error::other(panicked))) {
            Ok(found) => query.answer(&found),
            Err(error) => {
                tracing::debug!(name = query.name, %error, "the system does not resolve a name");
                query.fail(Code::Server)
            }
        }
    }
}

#[cfg(test)]
mod table;
#[cfg(test)]
mod tests;
