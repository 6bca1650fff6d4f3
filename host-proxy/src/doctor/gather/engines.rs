//! The engines on this computer: at the places where engines keep their endpoints, behind docker's contexts, and the other
//! profiles of lighter. Whether somebody listens is looked up; none is spoken to.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{properties, text};
use crate::context::socket::{Holder, SystemSocket};
use crate::doctor::engines::{self as known, IN_HOME, IN_RUNTIME_DIR, IN_SYSTEM};
use crate::doctor::facts::{Alive, Facts, FoundEngine, Ways};
use crate::home::{Home, Profile};
use crate::sys::{endpoint, host};

/// How long a port of this computer may take to accept.
const PATIENCE: Duration = Duration::from_millis(500);
/// Most names below a `*` that are looked at.
const MOST_NAMES: usize = 50;

/// What leads clients to an engine that do not ask the docker CLI's settings.
pub fn ways(profile: &Profile, user: Option<&Path>) -> Ways {
    let socket = SystemSocket::of(profile);
    let standard = match &socket {
        Some(socket) => format!("unix://{}", socket.path().display()),
        None => "npipe:////./pipe/docker_engine".to_owned(),
    };
    let holder = socket.map(|socket| (socket.path().to_owned(), socket.holder().unwrap_or(Holder::Other)));
    let file = user.and_then(|user| text(&user.join(".testcontainers.properties")));
    let mut testcontainers = properties(&file.unwrap_or_default());
    testcontainers.retain(|name, _| name == "tc.host" || name == "docker.host");
    Ways { standard, socket: holder, testcontainers, alive: BTreeMap::new() }
}

/// The engines, ours first.
pub fn engines(home: &Home, profile: &Profile, facts: &Facts, user: Option<&Path>) -> Vec<FoundEngine> {
    let mut found = vec![FoundEngine {
        name: format!("lighter ({})", profile.name()),
        endpoint: profile.docker_host(),
        alive: Alive::Unknown,
    }];
    for other in home.profiles().unwrap_or_default().iter().filter(|other| other.name() != profile.name()) {
        let name = format!("lighter ({})", other.name());
        found.push(FoundEngine { name, endpoint: other.docker_host(), alive: Alive::Unknown });
    }
    let mut add = |endpoint: String| {
        if !endpoint.is_empty() && found.iter().all(|engine| engine.endpoint != endpoint) {
            let name = known::name(&endpoint).to_owned();
            found.push(FoundEngine { name, endpoint, alive: Alive::Unknown });
        }
    };
    for path in places(facts.variable("XDG_RUNTIME_DIR"), user) {
        // A link is a way to an engine that has another place of its own.
        if path.symlink_metadata().is_ok_and(|about| !about.is_symlink()) {
            add(endpoint::docker_host(&path));
        }
    }
    facts.docker.contexts.iter().for_each(|(_, host)| add(host.clone()));
    facts.variable("DOCKER_HOST").into_iter().for_each(|host| add(host.to_owned()));
    found
}

/// Existing files where engines keep their endpoints.
fn places(runtime_dir: Option<&str>, user: Option<&Path>) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for place in user.iter().flat_map(|user| IN_HOME.iter().map(|place| (user.to_path_buf(), *place))) {
        all.extend(expand(place.0, place.1));
    }
    all.extend(runtime_dir.iter().flat_map(|dir| IN_RUNTIME_DIR.iter().map(|place| Path::new(dir).join(place))));
    all.extend(IN_SYSTEM.iter().map(PathBuf::from));
    all.retain(|path| path.symlink_metadata().is_ok());
    all
}

/// `place` below `dir`, with every name in the place of a `*`.
fn expand(dir: PathBuf, place: &str) -> Vec<PathBuf> {
    let Some((before, after)) = place.split_once("/*/") else { return vec![dir.join(place)] };
    let entries = std::fs::read_dir(dir.join(before)).into_iter().flatten().flatten().take(MOST_NAMES);
    entries.map(|entry| entry.path().join(after)).collect()
}

/// Whether somebody listens, for every endpoint that something leads to but our own, of which the daemon has told.
pub fn alive(facts: &Facts) -> BTreeMap<String, Alive> {
    let mut endpoints: BTreeSet<&str> = facts.engines.iter().map(|engine| engine.endpoint.as_str()).collect();
    endpoints.extend(facts.ways.testcontainers.values().map(String::as_str));
    endpoints.extend(facts.tools.builder.iter().map(|(_, endpoint)| endpoint.as_str()));
    if !matches!(facts.ways.socket, Some((_, Holder::Us))) {
        endpoints.insert(&facts.ways.standard);
    }
    endpoints.remove(facts.profile.docker_host.as_str());
    endpoints.into_iter().map(|endpoint| (endpoint.to_owned(), look(endpoint))).collect()
}

fn look(endpoint: &str) -> Alive {
    if let Some(path) = endpoint.strip_prefix("unix://").or_else(|| endpoint.strip_prefix("npipe://")) {
        return match host::listens(Path::new(path)) {
            Ok(true) => Alive::Yes,
            Ok(false) => Alive::No,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Alive::No,
            Err(_) => Alive::Unknown,
        };
    }
    // Nothing is asked of other computers.
    let Some(address) = endpoint.strip_prefix("tcp://").filter(|_| known::is_loopback(endpoint)) else {
        return Alive::Unknown;
    };
    let addresses: Vec<SocketAddr> = address.trim_end_matches('/').to_socket_addrs().into_iter().flatten().collect();
    match addresses.iter().any(|address| TcpStream::connect_timeout(address, PATIENCE).is_ok()) {
        true => Alive::Yes,
        false if addresses.is_empty() => Alive::Unknown,
        false => Alive::No,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn places_with_a_name_in_them_are_found_for_every_name() {
        let dir = tempfile::tempdir().unwrap();
        for name in [".colima/default", ".colima/work"] {
            std::fs::create_dir_all(dir.path().join(name)).unwrap();
            std::fs::write(dir.path().join(name).join("docker.sock"), "").unwrap();
        }
        std::fs::create_dir_all(dir.path().join(".rd")).unwrap();
        std::os::unix::fs::symlink("/gone", dir.path().join(".rd/docker.sock")).unwrap();
        let found = places(None, Some(dir.path()));
        let below = found.iter().filter_map(|path| path.strip_prefix(dir.path()).ok()).count();
        assert_eq!(below, 3, "{found:?}");
    }

    #[test]
    fn a_port_of_this_computer_is_tried_and_no_other() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("tcp://{}", listener.local_addr().unwrap());
        assert_eq!(look(&endpoint), Alive::Yes);
        drop(listener);
        assert_eq!(look(&endpoint), Alive::No);
        assert_eq!(look("tcp://192.0.2.1:2375"), Alive::Unknown);
        assert_eq!(look("ssh://me@localhost"), Alive::Unknown);
        assert_eq!(look("unix:///nonexistent/docker.sock"), Alive::No);
    }
}
