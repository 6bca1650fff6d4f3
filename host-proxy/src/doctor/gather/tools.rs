//! The docker CLI, its plugins, its settings and its credential helpers, as they are installed here.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use super::text;
use crate::context::files::{self, DockerFiles};
use crate::daemon::fault::chain;
use crate::doctor::checks::tools::{PACKAGERS, apt_names};
use crate::doctor::facts::{DockerSettings, Plugin, Program, Tools};
use crate::plain;
use crate::sys::host;

/// How long a program may take to say its version.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where the docker CLI looks for plugins after its own directory.
const PLUGIN_DIRS: [&str; 7] = [
    "/usr/local/lib/docker/cli-plugins",
    "/usr/local/libexec/docker/cli-plugins",
    "/usr/lib/docker/cli-plugins",
    "/usr/libexec/docker/cli-plugins",
    "/opt/homebrew/lib/docker/cli-plugins",
    r"C:\ProgramData\Docker\cli-plugins",
    r"C:\Program Files\Docker\cli-plugins",
];

/// The docker CLI's settings.
pub fn settings() -> DockerSettings {
    let Ok(docker) = DockerFiles::from_env() else { return DockerSettings::default() };
    let (config, invalid) = match docker.config_text() {
        Ok(text) => (text.unwrap_or_default(), None),
        Err(error) => (String::new(), Some(why(&error))),
    };
    let proxies = files::member(&config, "proxies").and_then(|proxies| proxies.get("default")?.as_object().cloned());
    let proxies = proxies.into_iter().flatten().filter_map(|(name, url)| Some((name, url.as_str()?.to_owned())));
    DockerSettings {
        dir: docker.dir().to_owned(),
        read_only: docker.dir().is_dir() && !host::may_write(docker.dir()),
        invalid,
        current: docker.current().unwrap_or_else(|_| "default".to_owned()),
        contexts: docker.contexts().into_iter().map(|known| (known.name, known.host)).collect(),
        proxies: proxies.filter(|(name, _)| name != "noProxy").collect(),
    }
}

/// The reason of a refusal, without the advice that belongs to a start.
fn why(error: &crate::context::ContextError) -> String {
    match std::error::Error::source(error) {
        Some(source) => chain(source),
        None => "it is not valid JSON".to_owned(),
    }
}

/// See the head of this file.
pub fn tools(settings: &DockerSettings, builder: Option<&str>) -> Tools {
    let path = search_path();
    let config = text(&settings.dir.join("config.json")).unwrap_or_default();
    let helpers: BTreeSet<String> = files::helpers(&config).into_iter().map(|(_, helper)| helper).collect();
    let missing = helpers.into_iter().filter(|helper| !has_helper(helper));
    let mut dirs = vec![settings.dir.join("cli-plugins")];
    let extra = files::member(&config, "cliPluginsExtraDirs").and_then(|dirs| dirs.as_array().cloned());
    dirs.extend(extra.into_iter().flatten().filter_map(|dir| dir.as_str().map(PathBuf::from)));
    dirs.extend(PLUGIN_DIRS.iter().map(PathBuf::from));
    let docker = program(&path, "docker").map(|file| Program {
        version: first_line(Command::new(&file).arg("--version")).unwrap_or_default(),
        path: resolved(&file),
    });
    let mut tools = Tools {
        docker,
        compose: plugin(&dirs, "docker-compose"),
        buildx: plugin(&dirs, "docker-buildx"),
        missing_helpers: missing.collect(),
        builder: current_builder(&settings.dir, builder),
        packager: PACKAGERS.iter().find(|(name, _)| program(&path, name).is_some()).map(|(name, _)| (*name).to_owned()),
        apt_offers: BTreeSet::new(),
    };
    let complete = tools.docker.is_some() && tools.compose.found.is_some() && tools.buildx.found.is_some();
    if !complete && tools.packager.as_deref() == Some("apt-get") {
        tools.apt_offers = apt_offers();
    }
    tools
}

/// Whether the credential helper `name` is installed.
pub fn has_helper(name: &str) -> bool {
    program(&search_path(), &format!("docker-credential-{name}")).is_some()
}

fn search_path() -> Vec<PathBuf> {
    std::env::var_os("PATH").map(|path| std::env::split_paths(&path).collect()).unwrap_or_default()
}

fn program(path: &[PathBuf], name: &str) -> Option<PathBuf> {
    path.iter().map(|dir| dir.join(host::program_file(name))).find(|file| host::may_run(file))
}

/// The file at the end of links; a snap's programs are all links to snap itself, and keep their own name.
fn resolved(file: &Path) -> PathBuf {
    match file.canonicalize() {
        Ok(real) if !real.ends_with("snap") => real,
        _ => file.to_owned(),
    }
}

fn plugin(dirs: &[PathBuf], name: &str) -> Plugin {
    let files = dirs.iter().map(|dir| dir.join(host::program_file(name)));
    let there: Vec<PathBuf> = files.filter(|file| file.symlink_metadata().is_ok()).collect();
    let (good, broken): (Vec<_>, Vec<_>) = there.into_iter().partition(|file| host::may_run(file));
    Plugin { found: good.into_iter().next(), broken }
}

/// What a program prints first, made harmless; `None` if it fails or takes too long.
fn first_line(command: &mut Command) -> Option<String> {
    let (text, success) = output(command)?;
    text.lines().next().filter(|_| success).map(plain::one_line)
}

/// What a program prints, and whether it succeeded; `None` if it cannot be run or takes too long.
fn output(command: &mut Command) -> Option<(String, bool)> {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().ok()?;
    let stdout = child.stdout.take()?;
    let (done, words) = mpsc::channel();
    // If nobody waits any more, nobody wants the answer.
    std::thread::spawn(move || done.send(std::io::read_to_string(stdout)).unwrap_or_default());
    let words = words.recv_timeout(PATIENCE);
    if words.is_err() {
        // Fails only if it has ended just now.
        let _ = child.kill();
    }
    let status = child.wait().ok()?;
    Some((words.ok()?.ok()?, status.success()))
}

/// What of docker's parts apt can install; versions of compose before 2 are another program.
fn apt_offers() -> BTreeSet<String> {
    let mut command = Command::new("apt-cache");
    let shown = output(command.args(["show", "--no-all-versions"]).args(apt_names()).env("LC_ALL", "C"));
    // It fails if it does not know one of them, and shows the others all the same.
    offers(&shown.unwrap_or_default().0)
}

fn offers(shown: &str) -> BTreeSet<String> {
    let packages = shown.split("\n\n").filter_map(|paragraph| {
        let field = |name: &str| paragraph.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        let (name, version) = (field("Package:")?, field("Version:")?);
        let old = name == "docker-compose" && version.starts_with("1.");
        (!old).then(|| name.to_owned())
    });
    packages.collect()
}

/// The builder that buildx uses, if it is not the context's own: its name and its endpoint.
fn current_builder(docker: &Path, variable: Option<&str>) -> Option<(String, String)> {
    let buildx = docker.join("buildx");
    let name = match variable {
        Some(name) => name.to_owned(),
        None => {
            let current: serde_json::Value = serde_json::from_str(&text(&buildx.join("current"))?).ok()?;
            current.get("Name")?.as_str().filter(|name| !name.is_empty())?.to_owned()
        }
    };
    // A name is a file's, and nothing else.
    if name == "default" || name.contains(['/', '\\']) {
        return None;
    }
    let instance: serde_json::Value = serde_json::from_str(&text(&buildx.join("instances").join(&name))?).ok()?;
    let endpoint = instance.get("Nodes")?.get(0)?.get("Endpoint")?.as_str()?.to_owned();
    Some((name, endpoint))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn apt_offers_what_it_shows_and_compose_1_is_not_compose() {
        let shown =
            "Package: docker-compose\nSource: x\nVersion: 1.29.2-3\n\nPackage: docker.io\nVersion: 20.10.24\n\n";
        assert_eq!(offers(shown), ["docker.io".to_owned()].into());
        assert_eq!(offers("Package: docker-compose\nVersion: 2.26.1-4\n"), ["docker-compose".to_owned()].into());
        assert!(offers("N: nothing\n").is_empty());
    }

    #[test]
    fn a_builder_is_found_by_its_name_and_a_name_never_leaves_the_directory() {
        let dir = tempfile::tempdir().unwrap();
        let instances = dir.path().join("buildx/instances");
        std::fs::create_dir_all(&instances).unwrap();
        let instance =
            r#"{"Name":"cross","Driver":"docker-container","Nodes":[{"Name":"cross0","Endpoint":"colima"}]}"#;
        std::fs::write(instances.join("cross"), instance).unwrap();
        std::fs::write(dir.path().join("buildx/evil"), instance).unwrap();
        assert_eq!(current_builder(dir.path(), None), None);
        std::fs::write(dir.path().join("buildx/current"), r#"{"Key":"unix:///x","Name":"cross","Global":false}"#)
            .unwrap();
        assert_eq!(current_builder(dir.path(), None), Some(("cross".to_owned(), "colima".to_owned())));
        assert_eq!(current_builder(dir.path(), Some("default")), None);
        assert_eq!(current_builder(dir.path(), Some("../evil")), None);
    }

    #[cfg(unix)]
    #[test]
    fn a_dangling_plugin_is_broken_and_a_later_one_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let dirs = [dir.path().join("a"), dir.path().join("b")];
        dirs.iter().for_each(|dir| std::fs::create_dir(dir).unwrap());
        assert_eq!(plugin(&dirs, "docker-compose"), Plugin::default());
        let gone = dirs[0].join("docker-compose");
        std::os::unix::fs::symlink("/Applications/Docker.app/gone", &gone).unwrap();
        std::os::unix::fs::symlink("/bin/sh", dirs[1].join("docker-compose")).unwrap();
        let found = plugin(&dirs, "docker-compose");
        assert_eq!(found, Plugin { found: Some(dirs[1].join("docker-compose")), broken: vec![gone] });
    }
}
