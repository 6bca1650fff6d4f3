//! Which tool reaches which engine from this shell, and by which setting: the rules that each tool has. Pure. Called by the
//! checks about ways and by `cli::doctor`, which prints them.

use serde::Serialize;

use super::engines;
use super::facts::{Alive, Facts};
use crate::context::socket::Holder;

/// One tool's way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Route {
    /// Which tool.
    pub tool: &'static str,
    /// What decides.
    pub by: String,
    /// The endpoint; null where a setting leads nowhere.
    pub endpoint: Option<String>,
    /// The engine there, in words.
    pub engine: String,
    /// Whether that is the profile which is asked about.
    pub ours: bool,
    /// Whether nobody answers there.
    pub dead: bool,
}

/// All of them.
pub fn routes(facts: &Facts) -> Vec<Route> {
    let mut all = vec![docker(facts)];
    all.extend(facts.tools.builder.as_ref().map(|(name, endpoint)| {
        let endpoint = facts.docker.context(endpoint).unwrap_or(endpoint);
        route(facts, "docker buildx", format!("the builder `{name}`"), endpoint)
    }));
    all.push(library(facts));
    all.push(testcontainers(facts));
    all
}

/// The docker CLI, and compose, which it starts: DOCKER_HOST, then DOCKER_CONTEXT, then the current context.
pub fn docker(facts: &Facts) -> Route {
    const TOOL: &str = "docker, docker compose";
    if let Some(host) = facts.variable("DOCKER_HOST") {
        return route(facts, TOOL, "DOCKER_HOST".to_owned(), host);
    }
    let (by, name) = match facts.variable("DOCKER_CONTEXT") {
        Some(name) => (format!("DOCKER_CONTEXT={name}"), name),
        None => (format!("the current context `{}`", facts.docker.current), facts.docker.current.as_str()),
    };
    match facts.docker.context(name) {
        Some(host) => route(facts, TOOL, by, host),
        None if name == "default" || name.is_empty() => route(facts, TOOL, by, &facts.ways.standard),
        None => {
            let engine = format!("nothing: there is no context `{name}`");
            Route { tool: TOOL, by, endpoint: None, engine, ours: false, dead: true }
        }
    }
}

/// Libraries that know DOCKER_HOST and the standard endpoint.
pub fn library(facts: &Facts) -> Route {
    by_variable(facts, "SDKs (docker-py, dockerode, bollard)")
}

fn by_variable(facts: &Facts, tool: &'static str) -> Route {
    match facts.variable("DOCKER_HOST") {
        Some(host) => route(facts, tool, "DOCKER_HOST".to_owned(), host),
        None => route(facts, tool, "default".to_owned(), &facts.ways.standard),
    }
}

/// Testcontainers: `tc.host`, DOCKER_HOST, `docker.host`, the standard endpoint.
pub fn testcontainers(facts: &Facts) -> Route {
    const TOOL: &str = "Testcontainers";
    let property = |name: &str| facts.ways.testcontainers.get(name).filter(|host| !host.is_empty());
    let by = |name: &str| format!("{name} in ~/.testcontainers.properties");
    if let Some(host) = property("tc.host") {
        return route(facts, TOOL, by("tc.host"), host);
    }
    if facts.variable("DOCKER_HOST").is_none()
        && let Some(host) = property("docker.host")
    {
        return route(facts, TOOL, by("docker.host"), host);
    }
    by_variable(facts, TOOL)
}

fn route(facts: &Facts, tool: &'static str, by: String, endpoint: &str) -> Route {
    let ours = facts.is_ours(endpoint);
    // Of our own machine its daemon has told how it is.
    let dead = !ours && facts.alive(endpoint) == Alive::No;
    let engine = if ours { format!("lighter ({})", facts.profile.name) } else { engine_at(facts, endpoint, dead) };
    Route { tool, by, endpoint: Some(endpoint.to_owned()), engine, ours, dead }
}

fn engine_at(facts: &Facts, endpoint: &str, dead: bool) -> String {
    let known = facts.engines.iter().find(|engine| engine.endpoint == endpoint);
    let name = known.map_or_else(|| engines::name(endpoint).to_owned(), |engine| engine.name.clone());
    if endpoint != facts.ways.standard {
        return if dead { format!("{name}, which does not answer") } else { name };
    }
    match &facts.ways.socket {
        Some((path, Holder::Nobody)) => format!("nothing: {} does not exist", path.display()),
        Some((path, Holder::Dangling(target))) => {
            format!("nothing: {} leads to {}, which does not exist", path.display(), target.display())
        }
        Some((_, Holder::Link(target))) => engines::name(&format!("unix://{}", target.display())).to_owned(),
        _ if dead => format!("{name}, which does not answer"),
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn c9_docker_host_goes_before_docker_context_and_that_before_the_current_context() {
        let mut facts = Facts::healthy();
        assert!(docker(&facts).ours && docker(&facts).by.contains("current context `lighter`"));
        facts.environment.insert("DOCKER_CONTEXT".to_owned(), "colima".to_owned());
        assert_eq!(docker(&facts).engine, "Colima");
        facts.environment.insert("DOCKER_HOST".to_owned(), "tcp://10.0.0.7:2375".to_owned());
        assert_eq!(docker(&facts).engine, "an engine on the network");
        facts.environment.clear();
        facts.docker.current = "gone".to_owned();
        assert!(docker(&facts).dead && docker(&facts).engine.contains("no context `gone`"));
    }

    #[test]
    fn libraries_know_docker_host_and_the_standard_place_only() {
        let mut facts = Facts::healthy();
        facts.ways.socket = Some((PathBuf::from("/var/run/docker.sock"), Holder::Nobody));
        assert!(library(&facts).engine.contains("does not exist"));
        facts.ways.socket = Some((PathBuf::from("/var/run/docker.sock"), Holder::Us));
        assert!(library(&facts).ours);
        let link = PathBuf::from("/Users/me/.orbstack/run/docker.sock");
        facts.ways.socket = Some((PathBuf::from("/var/run/docker.sock"), Holder::Link(link)));
        assert_eq!(library(&facts).engine, "OrbStack");
        facts.environment.insert("DOCKER_HOST".to_owned(), facts.profile.docker_host.clone());
        assert!(library(&facts).ours);
    }

    #[test]
    fn testcontainers_asks_its_own_file_around_docker_host() {
        let mut facts = Facts::healthy();
        facts.ways.testcontainers.insert("docker.host".to_owned(), "unix:///x/.rd/docker.sock".to_owned());
        assert_eq!(testcontainers(&facts).engine, "Rancher Desktop");
        facts.environment.insert("DOCKER_HOST".to_owned(), facts.profile.docker_host.clone());
        assert!(testcontainers(&facts).ours);
        facts.ways.testcontainers.insert("tc.host".to_owned(), "tcp://127.0.0.1:33333".to_owned());
        assert!(testcontainers(&facts).by.contains("tc.host"));
    }

    #[test]
    fn a_builder_of_buildx_has_a_way_of_its_own() {
        let mut facts = Facts::healthy();
        facts.tools.builder = Some(("cross".to_owned(), "colima".to_owned()));
        let builder = routes(&facts).into_iter().find(|route| route.tool == "docker buildx").unwrap();
        assert_eq!((builder.engine.as_str(), builder.ours), ("Colima", false));
    }
}
