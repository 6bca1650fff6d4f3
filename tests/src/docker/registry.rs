//! Registries of the user's own, and proxies on the way to them: over plain HTTP, over TLS with a private authority, as a mirror
//! of Docker Hub, through a proxy that is the only way. Part of the network rig; the registries are those of `rig::registries`.

use anyhow::{Context, Result, ensure};

use super::{BUSYBOX, Case, Session, same};
use crate::clients::registry::{fresh, push};
use crate::rig::connect_proxy::{LOGIN, PROXY, passed};
use crate::rig::registries::{AUTHORITY, PLAIN, TLS};
use crate::rig::world::{SERVER, UNREACHABLE, guard};

/// The cases of this file. Each says all of its settings, so each can run alone.
pub fn cases() -> Vec<Case> {
    vec![
        Case { name: "registry_over_plain_http_when_it_is_named", run: plain },
        Case { name: "registry_mirror_serves_names_of_docker_hub", run: mirror },
        Case { name: "registry_with_a_private_authority_is_trusted_when_that_is_named", run: private_authority },
        Case { name: "registry_with_an_authority_that_this_computer_trusts", run: native_authority },
        Case { name: "registry_through_a_proxy_that_is_the_only_way", run: only_way },
        Case { name: "registry_through_a_proxy_on_the_hosts_own_loopback", run: loopback_proxy },
        Case { name: "registry_on_the_hosts_own_loopback", run: loopback_registry },
    ]
}

/// Where the rig has put the authority's certificate.
fn authority(s: &Session) -> String {
    s.dir.join("registries").join(AUTHORITY).display().to_string()
}

/// Starts the machine anew with these settings and these proxies in the environment.
fn restart(s: &Session, settings: &[&str], variables: &[(&str, &str)]) -> Result<String> {
    let none = ["proxy = \"off\"", "registry_mirrors = []", "insecure_registries = []", "ca_certificates = []"];
    let key = |line: &str| line.split('=').next().unwrap_or_default().trim().to_owned();
    let kept = none.iter().filter(|line| !settings.iter().any(|own| key(own) == key(line)));
    let text: Vec<&str> = settings.iter().chain(kept).copied().collect();
    s.lighter(["stop"]).within(s.seconds(120)).ok()?;
    s.configure(&text.join("\n"))?;
    let start = s.lighter(["start", "--engine", s.engine, "--cpus", s.cpus, "--memory", "2", "--disk", "20"]);
    let start = variables.iter().fold(start, |start, (name, value)| start.env(name, value));
    let said = start.within(s.seconds(240)).ok()?.talk();
    guard(s)?;
    Ok(said)
}

/// Pushes a fresh image, removes it, pulls it, and reads what is in it.
fn there_and_back(s: &Session, name: &str) -> Result<()> {
    fresh(s, name, "pushed")?;
    push(s, name)?;
    s.out(&["rmi", name])?;
    s.docker(["pull", "-q", name]).within(s.seconds(120)).ok()?;
    same("its content", s.out(&["run", "--rm", name, "cat", "/word"])?, "pushed".to_owned())?;
    s.out(&["rmi", name]).map(drop)
}

/// What `docker pull` says of an image that it does not get.
fn refused(s: &Session, name: &str) -> Result<String> {
    let done = s.docker(["pull", name]).within(s.seconds(120)).finish()?;
    ensure!(!done.status.success(), "pull of {name} succeeds: {}", done.text());
    Ok(done.talk())
}

fn plain(s: &Session) -> Result<()> {
    let name = format!("{SERVER}:{PLAIN}/plain:1");
    restart(s, &[], &[])?;
    let said = refused(s, &name)?;
    ensure!(said.contains("HTTP response to HTTPS client"), "a registry that nobody named: {said}");
    restart(s, &[&format!("insecure_registries = [\"{SERVER}:{PLAIN}\"]")], &[])?;
    there_and_back(s, &name)
}

fn mirror(s: &Session) -> Result<()> {
    let place = format!("{SERVER}:{PLAIN}");
    restart(s, &[&format!("registry_mirrors = [\"http://{place}\"]")], &[])?;
    let hidden = format!("{place}/library/mirrored:latest");
    fresh(s, &hidden, "mirrored")?;
    push(s, &hidden)?;
    s.out(&["rmi", &hidden])?;
    s.docker(["pull", "-q", "mirrored"]).within(s.seconds(120)).ok()?;
    same("its content", s.out(&["run", "--rm", "mirrored", "cat", "/word"])?, "mirrored".to_owned())?;
    s.out(&["rmi", "mirrored"])?;
    // The builder asks it as well.
    build(s, "mirrored")?;
    let info = s.out(&["info", "-f", "{{json .RegistryConfig.Mirrors}}"])?;
    same("mirrors", info, format!("[\"http://{place}/\"]"))
}

/// Builds an image on `base`, which only a registry has.
fn build(s: &Session, base: &str) -> Result<()> {
    let file = format!("FROM {base}\nRUN cat /word > /read\n");
    let build = s.docker(["buildx", "build", "--load", "-t", "built", "-"]).stdin(std::io::Cursor::new(file));
    build.within(s.seconds(240)).ok()?;
    let word = s.out(&["run", "--rm", "built", "cat", "/read"])?;
    s.out(&["rmi", "built"])?;
    ensure!(!word.is_empty(), "the build read nothing");
    Ok(())
}

fn private_authority(s: &Session) -> Result<()> {
    let name = format!("server.world.test:{TLS}/tls:1");
    restart(s, &[], &[])?;
    let said = refused(s, &name)?;
    ensure!(said.contains("certificate signed by unknown authority"), "an authority that nobody named: {said}");
    restart(s, &[&format!("ca_certificates = [\"{}\"]", authority(s))], &[])?;
    fresh(s, &name, "trusted")?;
    push(s, &name)?;
    s.out(&["rmi", &name])?;
    build(s, &name)?;
    s.docker(["pull", "-q", &name]).within(s.seconds(120)).ok()?;
    same("its content", s.out(&["run", "--rm", &name, "cat", "/word"])?, "trusted".to_owned())?;
    s.out(&["rmi", &name]).map(drop)
}

/// Behind a proxy that looks into everything, whose authority the host's administrator has put into the host's own store; nobody
/// tells lighter anything.
fn native_authority(s: &Session) -> Result<()> {
    let name = format!("server.world.test:{TLS}/native:1");
    // The daemon reads the store, and has the environment that it was made in.
    s.lighter(["stop", "--quit"]).within(s.seconds(90)).ok()?;
    let tried = restart(s, &[], &[("SSL_CERT_FILE", &authority(s))]).and_then(|_| there_and_back(s, &name));
    s.lighter(["stop", "--quit"]).within(s.seconds(90)).ok()?;
    restart(s, &[], &[])?;
    tried?;
    let said = refused(s, &name)?;
    ensure!(said.contains("certificate signed by unknown authority"), "out of the store again: {said}");
    Ok(())
}

fn only_way(s: &Session) -> Result<()> {
    let name = format!("{UNREACHABLE}:{TLS}/hidden:1");
    let trust = format!("ca_certificates = [\"{}\"]", authority(s));
    restart(s, &[&trust], &[])?;
    let said = refused(s, &name)?;
    ensure!(said.contains("no route to host"), "a registry behind a proxy, without the proxy: {said}");
    // Settings win, so here they must say nothing.
    let proxy = format!("http://{LOGIN}@{SERVER}:{PROXY}");
    let said = restart(s, &[&trust, "proxy = {}"], &[("HTTPS_PROXY", &proxy), ("HTTP_PROXY", &proxy)])?;
    ensure!(said.contains(&format!("http://{SERVER}:{PROXY}, for pulls, builds and containers")), "start says {said}");
    let before = passed();
    there_and_back(s, &name)?;
    ensure!(passed() > before, "nothing went through the proxy");
    let env = s.out(&["run", "--rm", BUSYBOX, "sh", "-c", "echo $HTTP_PROXY $http_proxy $NO_PROXY"])?;
    same("proxies in a container", env, format!("{proxy} {proxy} localhost,127.0.0.0/8,::1,host.docker.internal"))?;
    let shown = s.out(&["info", "-f", "{{.HTTPSProxy}}"])?;
    ensure!(shown.contains(SERVER) && !shown.contains("secret"), "docker info shows {shown}");
    for told in [said, s.lighter(["status", "--json"]).ok()?.text(), s.lighter(["logs", "dockerd"]).ok()?.text()] {
        ensure!(!told.contains("secret"), "a password is shown: {told}");
    }
    let log = std::fs::read_to_string(s.dir.join("home/default/daemon.log")).context("the daemon's log")?;
    ensure!(!log.contains("secret"), "a password is in the daemon's log");
    let line = s.docker(["run", "--rm", BUSYBOX, "cat", "/proc/cmdline"]).ok()?.text();
    ensure!(!line.contains("secret"), "a password is on the kernel's command line");
    Ok(())
}

fn loopback_proxy(s: &Session) -> Result<()> {
    let trust = format!("ca_certificates = [\"{}\"]", authority(s));
    let settings = format!("proxy = {{ https = \"http://{LOGIN}@localhost:{PROXY}\" }}");
    restart(s, &[&trust, &settings], &[])?;
    let before = passed();
    there_and_back(s, &format!("{SERVER}:{TLS}/looped:1"))?;
    ensure!(passed() > before, "nothing went through the proxy on the host's loopback");
    let env = s.out(&["run", "--rm", BUSYBOX, "sh", "-c", "echo $https_proxy"])?;
    same("the proxy as containers call it", env, format!("http://{LOGIN}@host.docker.internal:{PROXY}"))
}

fn loopback_registry(s: &Session) -> Result<()> {
    restart(s, &[], &[])?;
    there_and_back(s, &format!("host.docker.internal:{PLAIN}/near:1"))
}
