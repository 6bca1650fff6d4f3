//! What is published at the moment. Written by `forward`, read by `daemon::serve` for `lighter ports`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lighter_protocol::{Port, Transport};
use serde::{Deserialize, Serialize};

/// One published port.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PublishedPort {
    /// Where clients on the host reach it.
    pub host: SocketAddr,
    /// By which protocol.
    pub protocol: Transport,
    /// Whither it leads.
    pub container: SocketAddr,
    /// The container's name, if the engine has said it.
    pub name: Option<String>,
}

/// All of them.
#[derive(Debug, Default)]
pub struct List(Mutex<Entries>);

#[derive(Debug, Default)]
struct Entries {
    next: u64,
    ports: BTreeMap<u64, PublishedPort>,
}

/// Keeps a port in the list.
#[derive(Debug)]
pub struct Entry {
    list: Arc<List>,
    number: u64,
}

impl List {
    fn lock(&self) -> MutexGuard<'_, Entries> {
        // No operation leaves it half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes down that `port` listens at `host`.
    pub fn add(self: &Arc<Self>, host: SocketAddr, port: &Port) -> Entry {
        let container = SocketAddr::new(port.container_ip, port.container_port);
        let mut entries = self.lock();
        let number = entries.next;
        entries.next += 1;
        entries.ports.insert(number, PublishedPort { host, protocol: port.protocol, container, name: None });
        Entry { list: Arc::clone(self), number }
    }

    /// Sorted by host address.
    pub fn all(&self) -> Vec<PublishedPort> {
        let mut all: Vec<PublishedPort> = self.lock().ports.values().cloned().collect();
        all.sort();
        all
    }

    /// The container for which `host` listens, or an address that takes it along.
    pub fn holder(&self, host: SocketAddr, protocol: Transport) -> Option<SocketAddr> {
        let overlaps = |other: &PublishedPort| {
            let any = other.host.ip().is_unspecified() || host.ip().is_unspecified();
            let same = other.host.ip() == host.ip() || (any && other.host.is_ipv4() == host.is_ipv4());
            other.protocol == protocol && other.host.port() == host.port() && same
        };
        self.lock().ports.values().find(|other| overlaps(other)).map(|other| other.container)
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.list.lock().ports.remove(&self.number);
    }
}
