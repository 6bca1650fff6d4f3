//! Finds out what the checks look at, all of it in one place: reads files, asks programs for their versions, probes the
//! hypervisors, and talks to the daemon. Changes nothing, starts nothing, and never wakes a machine that sleeps. Called by
//! `cli::doctor` and `cli::disk`.

use std::collections::BTreeMap;
use std::path::Path;

use crate::control::Phase;
use crate::home::{Home, Profile};
use crate::machine::Platform;

use super::facts::{Alive, Facts, MachineFacts};

/// The engines on this computer.
mod engines;
/// This computer.
mod host;
/// The daemon and its machine.
mod machine;
/// The profile's directories and disk.
mod profile;
/// Programs and their settings.
mod tools;
/// Proxies and trust.
mod world;

pub use machine::{Answer, disk};
pub use tools::has_helper;

/// Environment variables that docker tools read.
const VARIABLES: [&str; 13] = [
    "DOCKER_HOST",
    "DOCKER_CONTEXT",
    "DOCKER_TLS_VERIFY",
    "DOCKER_CERT_PATH",
    "DOCKER_API_VERSION",
    "BUILDX_BUILDER",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "XDG_RUNTIME_DIR",
];

/// Everything about `profile`; `answer` is what its daemon says of itself. Blocks for as long as the slowest probe takes.
pub fn gather(home: &Home, profile: &Profile, answer: Answer, platform: &dyn Platform) -> Facts {
    let environment = VARIABLES
        .iter()
        .filter_map(|&name| Some((name.to_owned(), std::env::var(name).ok().filter(|value| !value.is_empty())?)));
    let mut facts = Facts { environment: environment.collect(), ..Facts::default() };
    let settings;
    (facts.profile, settings) = profile::profile(profile);
    let user = std::env::home_dir().filter(|home| !home.as_os_str().is_empty());
    let (machine, disk) = std::thread::scope(|scope| {
        let asking = scope.spawn(|| machine::machine(profile, answer));
        let host = scope.spawn(|| host::host(platform));
        let world = scope.spawn(|| settings.as_ref().map(world::world));
        facts.docker = tools::settings();
        facts.tools = tools::tools(&facts.docker, facts.variable("BUILDX_BUILDER"));
        facts.ways = engines::ways(profile, user.as_deref());
        facts.host = host.join().unwrap_or_default();
        facts.world = world.join().ok().flatten().unwrap_or_default();
        asking.join().unwrap_or_default()
    });
    (facts.machine, facts.disk) = (machine, disk);
    facts.engines = engines::engines(home, profile, &facts, user.as_deref());
    facts.ways.alive = engines::alive(&facts);
    let ours = own_state(&facts.machine);
    facts.ways.alive.insert(facts.profile.docker_host.clone(), ours);
    for engine in &mut facts.engines {
        engine.alive = facts.ways.alive.get(&engine.endpoint).copied().unwrap_or(engine.alive);
    }
    facts
}

/// Whether our own endpoint is served, as its daemon tells.
fn own_state(machine: &MachineFacts) -> Alive {
    match machine.status.as_ref().map(|status| status.state) {
        Some(Phase::Running | Phase::Starting) => Alive::Yes,
        // A daemon that waits to be asked serves as well.
        Some(Phase::Stopped) if machine.status.as_ref().is_some_and(|status| status.pid.is_some()) => Alive::Yes,
        _ => Alive::No,
    }
}

/// A file of `NAME=value` lines (Java properties, as far as endpoints need them).
fn properties(text: &str) -> BTreeMap<String, String> {
    let lines = text.lines().map(str::trim).filter(|line| !line.starts_with(['#', '!']));
    let pairs = lines.filter_map(|line| line.split_once(['=', ':']));
    pairs.map(|(name, value)| (name.trim().to_owned(), value.trim().replace("\\:", ":"))).collect()
}

/// A text file of at most a megabyte; `None` for anything else.
fn text(path: &Path) -> Option<String> {
    let about = std::fs::metadata(path).ok()?;
    (about.is_file() && about.len() <= 1 << 20).then(|| std::fs::read_to_string(path).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties_are_read_as_java_writes_them() {
        let text =
            "#Modified by Testcontainers\n docker.host = unix\\:///x.sock\ntc.host=tcp\\://127.0.0.1\\:33\n!x=y\nodd\n";
        let read = properties(text);
        assert_eq!(read["docker.host"], "unix:///x.sock");
        assert_eq!(read["tc.host"], "tcp://127.0.0.1:33");
        assert_eq!(read.len(), 2);
    }
}
