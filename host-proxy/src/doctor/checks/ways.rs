//! Do docker tools reach this machine, and if not, what leads them elsewhere or nowhere?

use super::short;
use crate::context::socket::Holder;
use crate::doctor::facts::{Alive, Facts};
use crate::doctor::{Check, Found, Group, routes};
use crate::sys::terminal::in_this_shell;

const GROUP: Group = Group::Ways;

pub(super) const CHECKS: &[Check] = &[
    Check { id: "docker-host", group: GROUP, look: docker_host },
    Check { id: "docker-context", group: GROUP, look: docker_context },
    Check { id: "tls-variables", group: GROUP, look: tls },
    Check { id: "context-foreign", group: GROUP, look: context_foreign },
    Check { id: "context-missing", group: GROUP, look: context_missing },
    Check { id: "context-not-current", group: GROUP, look: not_current },
    Check { id: "context-dead", group: GROUP, look: context_dead },
    Check { id: "builder-elsewhere", group: GROUP, look: builder },
    Check { id: "testcontainers", group: GROUP, look: testcontainers },
    Check { id: "socket-nobody", group: GROUP, look: socket_nobody },
    Check { id: "socket-dangling", group: GROUP, look: socket_dangling },
    Check { id: "socket-other", group: GROUP, look: socket_other },
];

/// The user has chosen this machine, by its context being the current one.
fn chosen(facts: &Facts) -> bool {
    facts.docker.current == facts.profile.context
}

fn docker_host(facts: &Facts) -> Option<Found> {
    let host = facts.variable("DOCKER_HOST").filter(|host| !facts.is_ours(host))?;
    let route = routes::docker(facts);
    let cause = match facts.alive(host) {
        Alive::No => format!("DOCKER_HOST={host} leads to nothing, and every docker tool obeys it"),
        _ => format!("DOCKER_HOST={host} leads every docker tool to {}", route.engine),
    };
    Found::of(chosen(facts) || route.dead, cause, "unset DOCKER_HOST")
}

fn docker_context(facts: &Facts) -> Option<Found> {
    // DOCKER_HOST makes it meaningless.
    let name = facts.variable("DOCKER_CONTEXT").filter(|_| facts.variable("DOCKER_HOST").is_none())?;
    let route = routes::docker(facts);
    if route.ours {
        return None;
    }
    let cause = format!("DOCKER_CONTEXT={name} leads the docker CLI to {}", route.engine);
    Found::of(chosen(facts) || route.dead, cause, "unset DOCKER_CONTEXT")
}

fn tls(facts: &Facts) -> Option<Found> {
    let verify = facts.variable("DOCKER_TLS_VERIFY")?;
    let host =
        facts.variable("DOCKER_HOST").filter(|host| host.starts_with("unix://") || host.starts_with("npipe://"))?;
    let cause = format!("DOCKER_TLS_VERIFY={verify} makes docker look for certificates for {host}");
    Found::wrong(cause, "unset DOCKER_TLS_VERIFY DOCKER_CERT_PATH")
}

fn context_foreign(facts: &Facts) -> Option<Found> {
    let name = &facts.profile.context;
    let host = facts.docker.context(name).filter(|host| *host != facts.profile.docker_host)?;
    let cause = format!("The docker context `{name}` leads to {host}, which is not this profile");
    Found::wrong(cause, format!("docker context rm -f {name} && lighter context use{}", facts.flag()))
}

fn context_missing(facts: &Facts) -> Option<Found> {
    (facts.machine.runs() && facts.docker.context(&facts.profile.context).is_none()).then_some(())?;
    let cause = format!("The machine runs, but there is no docker context `{}`", facts.profile.context);
    Found::hint(cause, format!("lighter context use{}", facts.flag()))
}

fn not_current(facts: &Facts) -> Option<Found> {
    // Without a machine that runs it is nobody's wish that it were; a context that leads nowhere is told below.
    let ours = facts.docker.context(&facts.profile.context)? == facts.profile.docker_host;
    (ours && facts.machine.runs() && !chosen(facts) && !dead_context(facts)).then_some(())?;
    let cause = format!("The current docker context is `{}`, not this machine's", facts.docker.current);
    Found::hint(cause, format!("lighter context use{}", facts.flag()))
}

/// The current context leads to nothing.
fn dead_context(facts: &Facts) -> bool {
    let name = facts.docker.current.as_str();
    match facts.docker.context(name) {
        Some(host) => !facts.is_ours(host) && facts.alive(host) == Alive::No,
        None => !name.is_empty() && name != "default",
    }
}

fn context_dead(facts: &Facts) -> Option<Found> {
    dead_context(facts).then_some(())?;
    let name = &facts.docker.current;
    let cause = match facts.docker.context(name) {
        Some(host) => format!("The current docker context `{name}` leads to {host}, where nothing answers"),
        None => format!("The current docker context `{name}` does not exist"),
    };
    let ours = facts.docker.context(&facts.profile.context) == Some(facts.profile.docker_host.as_str());
    // Another profile of this home has only to be started.
    let host = facts.docker.context(name);
    let sibling = facts.engines.iter().find(|engine| Some(engine.endpoint.as_str()) == host);
    let sibling = sibling.and_then(|engine| engine.name.strip_prefix("lighter (")?.strip_suffix(')'));
    let cure = match sibling {
        Some(profile) => format!("lighter start -p {profile}"),
        None if ours => format!("lighter context use{}", facts.flag()),
        None => "docker context use default".to_owned(),
    };
    Found::wrong(cause, cure)
}

fn builder(facts: &Facts) -> Option<Found> {
    let (name, endpoint) = facts.tools.builder.as_ref()?;
    let endpoint = facts.docker.context(endpoint).unwrap_or(endpoint);
    (!facts.is_ours(endpoint) && routes::docker(facts).ours).then_some(())?;
    let dead = facts.alive(endpoint) == Alive::No;
    let cause = format!("`docker buildx` builds with `{name}` at {endpoint}, not on this machine");
    Found::of(dead, cause, "docker buildx use default")
}

fn testcontainers(facts: &Facts) -> Option<Found> {
    let (name, host) = facts.ways.testcontainers.iter().find(|(_, host)| !host.is_empty() && !facts.is_ours(host))?;
    let route = routes::testcontainers(facts);
    if !route.by.starts_with(name.as_str()) {
        return None;
    }
    let cause = format!("~/.testcontainers.properties sends Testcontainers to {host} ({name})");
    let cure = format!("sed -i.bak '/^{}/d' ~/.testcontainers.properties", name.replace('.', "\\."));
    Found::of(route.dead, cause, cure)
}

/// What leads tools here that know only the standard socket.
fn to_socket(facts: &Facts) -> String {
    match &facts.ways.socket {
        Some((_, Holder::Nobody)) => format!("lighter context claim-socket{}", facts.flag()),
        // Whoever left a dangling link may only be stopped: it is not ours to advise its end.
        _ => in_this_shell(&facts.flag()),
    }
}

/// There is a machine, and nothing else leads libraries to it.
fn libraries_lost(facts: &Facts) -> bool {
    facts.profile.exists && facts.variable("DOCKER_HOST").is_none()
}

fn socket_nobody(facts: &Facts) -> Option<Found> {
    let (path, _) = facts.ways.socket.as_ref().filter(|(_, holder)| *holder == Holder::Nobody)?;
    libraries_lost(facts).then_some(())?;
    let cause = format!("Tools that know no docker contexts look for {}, which does not exist", path.display());
    Found::hint(cause, to_socket(facts))
}

fn socket_dangling(facts: &Facts) -> Option<Found> {
    let Some((path, Holder::Dangling(target))) = &facts.ways.socket else { return None };
    libraries_lost(facts).then_some(())?;
    let cause = format!("{} leads to {}, which does not exist just now", path.display(), short(target));
    Found::hint(cause, to_socket(facts))
}

fn socket_other(facts: &Facts) -> Option<Found> {
    let (path, holder) = facts.ways.socket.as_ref()?;
    (matches!(holder, Holder::Link(_) | Holder::Other) && libraries_lost(facts)).then_some(())?;
    let engine = routes::library(facts).engine;
    let cause = format!("{} belongs to {engine}: tools that know no docker contexts go there", path.display());
    Found::hint(cause, to_socket(facts))
}

#[cfg(test)]
pub(in crate::doctor) mod tests {
    use std::path::PathBuf;

    use crate::context::socket::Holder;
    use crate::doctor::Level;
    use crate::doctor::facts::{Alive, Facts, FoundEngine};
    use crate::doctor::samples::{OURS, finds};

    fn variable(facts: &mut Facts, name: &str, value: &str) {
        facts.environment.insert(name.to_owned(), value.to_owned());
    }
    fn socket(facts: &mut Facts, holder: Holder) {
        facts.ways.socket = Some((PathBuf::from("/var/run/docker.sock"), holder));
    }
    const COLIMA: &str = "unix:///h/.colima/default/docker.sock";
    const REMOTE: &str = "tcp://10.0.0.7:2375";

    finds! {
        c9_docker_host_leads_elsewhere: "docker-host", Wrong,
            |f: &mut Facts| variable(f, "DOCKER_HOST", REMOTE), [REMOTE, "an engine on the network", "unset DOCKER_HOST"];
        c9_docker_context_leads_elsewhere: "docker-context", Wrong,
            |f: &mut Facts| variable(f, "DOCKER_CONTEXT", "colima"), ["Colima", "unset DOCKER_CONTEXT"];
        c9_certificates_are_asked_for_a_socket: "tls-variables", Wrong, |f: &mut Facts| {
            variable(f, "DOCKER_HOST", OURS);
            variable(f, "DOCKER_TLS_VERIFY", "1");
        }, ["certificates", "unset DOCKER_TLS_VERIFY DOCKER_CERT_PATH"];
        another_engine_has_a_context_of_our_name: "context-foreign", Wrong,
            |f: &mut Facts| f.docker.contexts = vec![("lighter".to_owned(), REMOTE.to_owned())], [REMOTE, "docker context rm -f lighter && lighter context use"];
        our_context_was_removed: "context-missing", Hint,
            |f: &mut Facts| drop(f.docker.contexts.pop()), ["no docker context `lighter`", "lighter context use"];
        another_context_is_current: "context-not-current", Hint,
            |f: &mut Facts| f.docker.current = "colima".to_owned(), ["`colima`", "lighter context use"];
        the_current_context_leads_nowhere: "context-dead", Wrong, |f: &mut Facts| {
            f.docker.current = "colima".to_owned();
            f.ways.alive.insert(COLIMA.to_owned(), Alive::No);
        }, ["nothing answers", "lighter context use"];
        buildx_builds_elsewhere: "builder-elsewhere", Hint,
            |f: &mut Facts| f.tools.builder = Some(("cross".to_owned(), "colima".to_owned())), ["`cross`", "docker buildx use default"];
        testcontainers_goes_elsewhere: "testcontainers", Hint,
            |f: &mut Facts| drop(f.ways.testcontainers.insert("docker.host".to_owned(), COLIMA.to_owned())), [COLIMA, "sed -i.bak '/^docker\\.host/d'"];
        nobody_has_the_standard_socket: "socket-nobody", Hint,
            |f: &mut Facts| socket(f, Holder::Nobody), ["does not exist", "lighter context claim-socket"];
        the_standard_socket_dangles: "socket-dangling", Hint,
            |f: &mut Facts| socket(f, Holder::Dangling(PathBuf::from("/gone.sock"))), ["/gone.sock", "lighter env"];
        another_engine_has_the_standard_socket: "socket-other", Hint,
            |f: &mut Facts| socket(f, Holder::Link(PathBuf::from("/h/.orbstack/run/docker.sock"))), ["OrbStack", "lighter env"];
    }

    #[test]
    fn c9_variables_that_lead_to_us_or_to_where_the_user_wants_are_no_fault() {
        let mut facts = Facts::healthy();
        variable(&mut facts, "DOCKER_HOST", OURS);
        socket(&mut facts, Holder::Nobody);
        assert_eq!(crate::doctor::examine(&facts), [], "everything obeys DOCKER_HOST");
        variable(&mut facts, "DOCKER_HOST", COLIMA);
        facts.docker.current = "colima".to_owned();
        assert_eq!(super::docker_host(&facts).unwrap().level, Level::Hint);
        facts.ways.alive.insert(COLIMA.to_owned(), Alive::No);
        assert_eq!(super::docker_host(&facts).unwrap().level, Level::Wrong);
        facts.environment.clear();
        variable(&mut facts, "DOCKER_CONTEXT", "lighter");
        assert_eq!(super::docker_context(&facts), None);
    }

    #[test]
    fn a_current_context_that_does_not_exist_is_wrong_whatever_else_is() {
        let mut facts = Facts::healthy();
        facts.docker.current = "gone".to_owned();
        facts.docker.contexts.clear();
        let found = super::context_dead(&facts).unwrap();
        assert!(found.cause.contains("`gone` does not exist") && found.cure == "docker context use default");
    }

    #[test]
    fn a_current_context_of_another_profile_that_is_off_is_cured_by_starting_that() {
        let mut facts = Facts::healthy();
        let host = "unix:///h/.lighter/work/docker.sock".to_owned();
        facts.docker.contexts.push(("lighter-work".to_owned(), host.clone()));
        facts.docker.current = "lighter-work".to_owned();
        facts.ways.alive.insert(host.clone(), Alive::No);
        facts.engines = vec![FoundEngine { name: "lighter (work)".to_owned(), endpoint: host, alive: Alive::No }];
        assert_eq!(super::context_dead(&facts).unwrap().cure, "lighter start -p work");
    }

    #[test]
    fn commands_for_another_profile_name_it() {
        let mut facts = Facts::healthy();
        facts.profile.name = "work".to_owned();
        facts.docker.current = "colima".to_owned();
        assert_eq!(super::not_current(&facts).unwrap().cure, "lighter context use -p work");
    }
}
