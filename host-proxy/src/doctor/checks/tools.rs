//! Is there a docker CLI that can talk to the engine, with its plugins, its settings and its credential helpers?

use super::short;
use crate::doctor::facts::{Facts, Plugin};
use crate::doctor::{Check, Found, Group};

const GROUP: Group = Group::Tools;

pub(super) const CHECKS: &[Check] = &[
    Check { id: "docker-cli", group: GROUP, look: docker_missing },
    Check { id: "docker-is-podman", group: GROUP, look: docker_is_podman },
    Check { id: "docker-from-snap", group: GROUP, look: docker_from_snap },
    Check { id: "docker-cli-old", group: GROUP, look: docker_old },
    Check { id: "api-version-pinned", group: GROUP, look: api_pinned },
    Check { id: "compose", group: GROUP, look: compose },
    Check { id: "buildx", group: GROUP, look: buildx },
    Check { id: "plugin-broken", group: GROUP, look: plugin_broken },
    Check { id: "credential-helper", group: GROUP, look: credential_helper },
    Check { id: "docker-config", group: GROUP, look: config_invalid },
    Check { id: "docker-config-read-only", group: GROUP, look: config_read_only },
];

/// What is to be installed: Debian's and Ubuntu's names for it, that of Fedora, Arch, SUSE, Alpine, Homebrew and Windows, and
/// the page that helps where there is no package.
struct Package {
    apt: &'static [&'static str],
    others: [&'static str; 6],
    page: &'static str,
}

const DOCKER: Package = Package {
    apt: &["docker-ce-cli", "docker-cli", "docker.io"],
    others: ["docker-cli", "docker", "docker", "docker-cli", "docker", "Docker.DockerCLI"],
    page: "https://docs.docker.com/engine/install",
};
const COMPOSE: Package = Package {
    apt: &["docker-compose-plugin", "docker-compose-v2", "docker-compose"],
    others: [
        "docker-compose",
        "docker-compose",
        "docker-compose",
        "docker-cli-compose",
        "docker-compose",
        "Docker.DockerCompose",
    ],
    page: "https://docs.docker.com/compose/install",
};
const BUILDX: Package = Package {
    apt: &["docker-buildx-plugin", "docker-buildx"],
    others: [
        "docker-buildx",
        "docker-buildx",
        "docker-buildx",
        "docker-cli-buildx",
        "docker-buildx",
        "Docker.DockerBuildx",
    ],
    page: "https://github.com/docker/buildx#installing",
};

/// Package managers that are known: apt, then the others in the order of [`Package::others`], each with its command.
pub const PACKAGERS: [(&str, &str); 7] = [
    ("apt-get", "sudo apt install"),
    ("dnf", "sudo dnf install"),
    ("pacman", "sudo pacman -S"),
    ("zypper", "sudo zypper install"),
    ("apk", "sudo apk add"),
    ("brew", "brew install"),
    ("winget", "winget install"),
];
/// Every name that apt may have for something of ours.
pub fn apt_names() -> impl Iterator<Item = &'static str> {
    [&DOCKER, &COMPOSE, &BUILDX].into_iter().flat_map(|package| package.apt.iter().copied())
}

/// The command that installs it here.
fn install(facts: &Facts, package: &Package) -> String {
    let packager = facts.tools.packager.as_deref();
    let at = packager.and_then(|name| PACKAGERS.iter().position(|(known, _)| *known == name));
    let name = match at {
        Some(0) => package.apt.iter().copied().find(|name| facts.tools.apt_offers.contains(*name)),
        Some(at) => package.others.get(at - 1).copied(),
        None => None,
    };
    match (at, name) {
        (Some(at), Some(name)) => format!("{} {name}", PACKAGERS[at].1),
        _ => format!("install it as {} says", package.page),
    }
}

fn docker_missing(facts: &Facts) -> Option<Found> {
    if facts.tools.docker.is_some() {
        return None;
    }
    Found::wrong("There is no docker CLI in PATH", install(facts, &DOCKER))
}

fn docker_is_podman(facts: &Facts) -> Option<Found> {
    let docker = facts.tools.docker.as_ref().filter(|docker| docker.version.to_lowercase().contains("podman"))?;
    let cause = format!("{} is Podman's stand-in, which knows no docker contexts", docker.path.display());
    Found::wrong(cause, install(facts, &DOCKER))
}

fn docker_from_snap(facts: &Facts) -> Option<Found> {
    let docker = facts.tools.docker.as_ref().filter(|docker| docker.path.starts_with("/snap"))?;
    let cause = format!("{} may not use sockets in hidden directories such as ~/.lighter", docker.path.display());
    Found::wrong(cause, format!("sudo snap remove docker && {}", install(facts, &DOCKER)))
}

/// Major and minor number in text such as `Docker version 28.2.2, build e6534b4`.
fn version(text: &str) -> Option<(u32, u32)> {
    let number = text
        .split(|c: char| c.is_whitespace() || c == ',')
        .find(|word| word.starts_with(|c: char| c.is_ascii_digit()))?;
    let mut parts = number.split(['.', '-', '+', '~']);
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// dockerd's version, of the running machine or else as the image has it.
fn engine_version(facts: &Facts) -> Option<(u32, u32)> {
    let running = facts.machine.status.as_ref().and_then(|status| status.versions.get("engine"));
    let image = facts.host.image.as_ref().and_then(|image| image.as_ref().ok()).and_then(|image| image.get("engine"));
    version(running.or(image)?)
}

fn docker_old(facts: &Facts) -> Option<Found> {
    let docker = facts.tools.docker.as_ref()?;
    let have = version(&docker.version)?;
    // dockerd 29 speaks API 1.44 and later, which came with 25; before that 1.24 was enough, which came with 1.12.
    let need = if engine_version(facts).is_some_and(|engine| engine.0 >= 29) { (25, 0) } else { (1, 12) };
    (have < need).then_some(())?;
    let cause = format!("docker {}.{} is too old for the engine, which needs {}.{}", have.0, have.1, need.0, need.1);
    Found::wrong(cause, install(facts, &DOCKER))
}

fn api_pinned(facts: &Facts) -> Option<Found> {
    let pinned = facts.variable("DOCKER_API_VERSION")?;
    let least = if engine_version(facts).is_some_and(|engine| engine.0 >= 29) { (1, 44) } else { (1, 24) };
    let too_old = version(pinned).is_none_or(|pinned| pinned < least);
    let cause = format!("DOCKER_API_VERSION={pinned} holds the docker CLI to that version of the API");
    Found::of(too_old, cause, "unset DOCKER_API_VERSION")
}

fn compose(facts: &Facts) -> Option<Found> {
    missing(facts, &facts.tools.compose, "`docker compose` is not installed", &COMPOSE)
}

fn buildx(facts: &Facts) -> Option<Found> {
    missing(
        facts,
        &facts.tools.buildx,
        "`docker buildx` is not installed, so `docker build` works the old way",
        &BUILDX,
    )
}

fn missing(facts: &Facts, plugin: &Plugin, cause: &str, package: &Package) -> Option<Found> {
    if plugin.found.is_some() || !plugin.broken.is_empty() {
        return None;
    }
    Found::hint(cause, install(facts, package))
}

fn plugin_broken(facts: &Facts) -> Option<Found> {
    let plugins = [(&facts.tools.compose, &COMPOSE, "compose"), (&facts.tools.buildx, &BUILDX, "buildx")];
    let (plugin, package, name) = plugins.into_iter().find(|(plugin, ..)| !plugin.broken.is_empty())?;
    let files: Vec<String> = plugin.broken.iter().map(|path| short(path)).collect();
    let files = files.join(" ");
    let cause = format!("{files} cannot be run, perhaps left behind by another engine");
    match plugin.found {
        Some(_) => Found::hint(cause, format!("rm {files}")),
        None => Found::wrong(
            format!("{cause}; `docker {name}` fails"),
            format!("rm {files} && {}", install(facts, package)),
        ),
    }
}

fn credential_helper(facts: &Facts) -> Option<Found> {
    let helpers = &facts.tools.missing_helpers;
    let names: Vec<String> = helpers.iter().map(|helper| format!("docker-credential-{helper}")).collect();
    if names.is_empty() {
        return None;
    }
    let cause = format!(
        "{} names {}, which is not installed, so that logins and many pulls and builds fail",
        short(&facts.docker.dir.join("config.json")),
        names.join(" and ")
    );
    Found::wrong(cause, "lighter context drop-helper")
}

fn config_invalid(facts: &Facts) -> Option<Found> {
    let error = facts.docker.invalid.as_deref()?;
    let path = facts.docker.dir.join("config.json");
    let cause = format!("{} cannot be used: {}", short(&path), error.replace('\n', " "));
    let cure = match error.contains("denied") {
        true => format!("sudo chown \"$(id -u)\" {}", short(&path)),
        false => format!("mv {0} {0}.broken", short(&path)),
    };
    Found::wrong(cause, cure)
}

fn config_read_only(facts: &Facts) -> Option<Found> {
    facts.docker.read_only.then_some(())?;
    let dir = short(&facts.docker.dir);
    let cause = format!("{dir} may not be written to, so contexts cannot be made or chosen");
    Found::wrong(cause, format!("sudo chown -R \"$(id -u)\" {dir}"))
}

#[cfg(test)]
pub(in crate::doctor) mod tests {
    use std::path::PathBuf;

    use crate::doctor::facts::{Facts, Plugin};
    use crate::doctor::samples::finds;

    fn docker(facts: &mut Facts, path: &str, version: &str) {
        let docker = facts.tools.docker.as_mut().unwrap();
        (docker.path, docker.version) = (PathBuf::from(path), version.to_owned());
    }
    const GONE: &str = "/h/.docker/cli-plugins/docker-compose";

    finds! {
        no_docker_cli: "docker-cli", Wrong, |f: &mut Facts| f.tools.docker = None, ["no docker CLI", "sudo apt install docker-cli"];
        a_docker_that_is_podman: "docker-is-podman", Wrong,
            |f: &mut Facts| docker(f, "/usr/bin/docker", "podman version 4.3.1"), ["Podman", "apt install"];
        a_docker_in_a_snap: "docker-from-snap", Wrong,
            |f: &mut Facts| docker(f, "/snap/bin/docker", "Docker version 28.1.1"), ["hidden directories", "snap remove docker"];
        a_docker_cli_that_is_too_old: "docker-cli-old", Wrong,
            |f: &mut Facts| docker(f, "/usr/bin/docker", "Docker version 1.11.2, build b9f10c9"), ["1.11 is too old", "needs 1.12"];
        c9_an_api_version_held_by_a_variable: "api-version-pinned", Wrong,
            |f: &mut Facts| drop(f.environment.insert("DOCKER_API_VERSION".to_owned(), "1.20".to_owned())), ["1.20", "unset DOCKER_API_VERSION"];
        no_compose: "compose", Hint, |f: &mut Facts| f.tools.compose = Plugin::default(), ["docker compose", "apt install docker-compose"];
        no_buildx: "buildx", Hint, |f: &mut Facts| f.tools.buildx = Plugin::default(), ["docker buildx", "apt install docker-buildx"];
        a_plugin_that_an_engine_left_behind: "plugin-broken", Wrong,
            |f: &mut Facts| f.tools.compose = Plugin { found: None, broken: vec![PathBuf::from(GONE)] }, [GONE, "rm /h", "docker-compose"];
        a_credential_helper_that_docker_desktop_left_behind: "credential-helper", Wrong,
            |f: &mut Facts| f.tools.missing_helpers = vec!["desktop".to_owned()], ["docker-credential-desktop", "lighter context drop-helper"];
        c9_a_docker_config_that_cannot_be_used: "docker-config", Wrong,
            |f: &mut Facts| f.docker.invalid = Some("not valid JSON".to_owned()), ["not valid JSON", "config.json.broken"];
        c6_a_docker_directory_of_root: "docker-config-read-only", Wrong,
            |f: &mut Facts| f.docker.read_only = true, ["/h/.docker", "sudo chown -R"];
    }

    #[test]
    fn what_is_to_be_installed_has_the_name_that_this_system_gives_it() {
        let mut facts = Facts::healthy();
        facts.tools.compose = Plugin::default();
        let mut cure = |packager: &str, offers: &[&str]| {
            facts.tools.packager = Some(packager.to_owned());
            facts.tools.apt_offers = offers.iter().map(|&name| name.to_owned()).collect();
            super::compose(&facts).unwrap().cure
        };
        assert_eq!(cure("apt-get", &["docker.io", "docker-compose-v2"]), "sudo apt install docker-compose-v2");
        assert!(cure("apt-get", &["docker.io"]).contains("https://docs.docker.com/compose"));
        assert_eq!(cure("brew", &[]), "brew install docker-compose");
        assert_eq!(cure("apk", &[]), "sudo apk add docker-cli-compose");
        assert!(cure("emerge", &[]).contains("https://"));
    }

    #[test]
    fn versions_are_read_from_what_the_tools_print() {
        assert_eq!(super::version("Docker version 28.2.2, build e6534b4"), Some((28, 2)));
        assert_eq!(super::version("Docker version 20.10.24+dfsg1, build 297e128"), Some((20, 10)));
        assert_eq!(super::version("26.1.5+dfsg1"), Some((26, 1)));
        assert_eq!(super::version("Docker version unknown"), None);
    }

    #[test]
    fn an_engine_of_29_needs_a_cli_of_25() {
        let mut facts = Facts::healthy();
        crate::doctor::samples::status(&mut facts).versions.insert("engine".to_owned(), "29.0.1".to_owned());
        assert_eq!(super::docker_old(&facts), None);
        docker(&mut facts, "/usr/bin/docker", "Docker version 24.0.7, build afdd53b");
        assert!(super::docker_old(&facts).unwrap().cause.contains("needs 25.0"));
    }

    #[test]
    fn a_broken_plugin_beside_one_that_works_is_a_hint() {
        let mut facts = Facts::healthy();
        facts.tools.compose.broken.push(PathBuf::from(GONE));
        assert_eq!(super::plugin_broken(&facts).unwrap().level, crate::doctor::Level::Hint);
    }
}
