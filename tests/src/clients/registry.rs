//! A registry inside the guest, on the guest's own loopback, which dockerd takes without TLS: push and pull by tag and by digest,
//! `buildx build --push`, and the tools that ask a registry from the host.
//!
//! The suite's machine has no network and publishes no port, so those tools come to it through a listener of ours on the host,
//! whose every connection is a `docker exec` in the registry's container.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use sha2::Digest;

use super::report::Report;
use super::{Stage, install};
use crate::docker::terminal::Terminal;
use crate::docker::{BUSYBOX, Session, same};
use crate::process::hex;
use crate::rig::tools::Tools;

const NAME: &str = "harbour-registry";

pub(super) fn install(tools: &Tools) -> Result<()> {
    files(tools).map(drop)
}

/// What the registry's image holds: where it is on this host, and where it goes. The program is linked against libc alone.
fn files(tools: &Tools) -> Result<[(PathBuf, &'static str); 4]> {
    let libc = lighter_image::tools::unpacked(&tools.cache, "libc6")?.join("usr/lib/x86_64-linux-gnu");
    Ok([
        (install::debian(&tools.cache, "docker-registry", "docker-registry")?, "docker-registry"),
        (libc.join("ld-linux-x86-64.so.2"), "lib64/ld-linux-x86-64.so.2"),
        (libc.join("libc.so.6"), "lib/x86_64-linux-gnu/libc.so.6"),
        (tools.busybox.clone(), "busybox"),
    ])
}

pub(super) fn run(stage: &Stage, report: &mut Report) -> Result<()> {
    let s = stage.session;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?.to_string();
    serve(stage, &address).context("the registry does not come up in the guest")?;
    tunnel(listener, s);
    let place = |name: &str| format!("{address}/{name}");
    report.check("push_rmi_pull_gives_the_same_image", || push_pull(s, &place("bb:1")));
    report.check("pull_by_digest", || by_digest(s, &place("digested:1")));
    report.check("buildx_push_and_pull_keep_every_byte", || build_push(stage, &place("built:1")));
    report.check("manifest_inspect_knows_the_digest", || manifest(s, &place("seen:1")));
    report.check("imagetools_inspect_and_create", || imagetools(s, &place("tools")));
    report.check("pull_of_an_unknown_tag_says_so", || unknown(s, &place("nothing:1")));
    s.out(&["rm", "-f", "-v", NAME])?;
    s.out(&["rmi", "-f", NAME]).map(drop)
}

/// Builds the registry's image and starts it on the guest's loopback, under the port that the host's listener has.
fn serve(stage: &Stage, address: &str) -> Result<()> {
    let dir = stage.folder("registry")?;
    for (source, target) in files(stage.tools)? {
        let target = dir.join("root").join(target);
        fs::create_dir_all(target.parent().context("a file has a folder")?)?;
        fs::copy(&source, &target).with_context(|| format!("copy {}", source.display()))?;
    }
    let config = format!(
        "version: 0.1\nstorage: {{filesystem: {{rootdirectory: /store}}, delete: {{enabled: true}}}}\nhttp: {{addr: '{address}'}}\n"
    );
    fs::write(dir.join("root/config.yml"), config)?;
    let file = "FROM scratch\nCOPY root /\nVOLUME /store\nENTRYPOINT [\"/docker-registry\"]\nCMD [\"serve\", \"/config.yml\"]\n";
    fs::write(dir.join("Dockerfile"), file)?;
    let s = stage.session;
    s.docker(["buildx", "build", "--load", "-t", NAME]).args([&dir]).within(s.seconds(120)).ok()?;
    s.out(&["run", "-d", "--name", NAME, "--network", "host", NAME])?;
    Terminal::docker(s, &["logs", "-f", NAME])?.expect(&format!("listening on {address}"))
}

/// Carries each connection into the registry's container, for as long as this program runs.
fn tunnel(listener: TcpListener, s: &Session) {
    let (docker, config) = (s.docker.clone(), s.dir.join("docker"));
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (docker, config) = (docker.clone(), config.clone());
            // A connection that cannot be carried is closed, which its client reports.
            std::thread::spawn(move || carry(stream, &docker, &config).ok());
        }
    });
}

fn carry(mut stream: TcpStream, docker: &Path, config: &Path) -> Result<()> {
    let mut first = [0; 4096];
    // A record of TLS begins so. The registry itself answers like this, but only if there happens to be a line end in it.
    let length = stream.peek(&mut first)?;
    if length > 0 && first[0] == 0x16 {
        stream.read_exact(&mut first[..length])?;
        return Ok(stream.write_all(b"HTTP/1.0 400 Bad Request\r\n\r\nThis is not TLS.\n")?);
    }
    let port = stream.local_addr()?.port().to_string();
    let mut command = Command::new(docker);
    command.args(["exec", "-i", NAME, "/busybox", "nc", "127.0.0.1", &port]);
    command.env("DOCKER_CONFIG", config).env_remove("DOCKER_HOST").env_remove("DOCKER_CONTEXT");
    command.stdin(Stdio::from(OwnedFd::from(stream.try_clone()?))).stdout(Stdio::from(OwnedFd::from(stream)));
    command.stderr(Stdio::null()).status().map(drop)?;
    Ok(())
}

/// Pushes an image that is there and answers its digest.
pub fn push(s: &Session, name: &str) -> Result<String> {
    let said = s.docker(["push", name]).within(s.seconds(120)).ok()?.text();
    let digest = said.split_whitespace().find(|word| word.starts_with("sha256:"));
    digest.map(str::to_owned).with_context(|| format!("push names no digest: {said}"))
}

/// A fresh image under this name: its own layer on busybox.
pub fn fresh(s: &Session, name: &str, word: &str) -> Result<String> {
    s.out(&["run", "--name", "fresh", BUSYBOX, "sh", "-c", &format!("echo {word} > /word")])?;
    s.out(&["commit", "fresh", name])?;
    s.out(&["rm", "fresh"])?;
    s.out(&["image", "inspect", "-f", "{{.Id}}", name])
}

fn push_pull(s: &Session, name: &str) -> Result<()> {
    let id = fresh(s, name, "pushed")?;
    push(s, name)?;
    s.out(&["rmi", name])?;
    s.out(&["pull", "-q", name])?;
    same("image id", s.out(&["image", "inspect", "-f", "{{.Id}}", name])?, id)?;
    same("its content", s.out(&["run", "--rm", name, "cat", "/word"])?, "pushed".to_owned())?;
    s.out(&["rmi", name]).map(drop)
}

fn by_digest(s: &Session, name: &str) -> Result<()> {
    let id = fresh(s, name, "by digest")?;
    let digest = push(s, name)?;
    s.out(&["rmi", name])?;
    let exact = format!("{}@{digest}", name.trim_end_matches(":1"));
    s.out(&["pull", "-q", &exact])?;
    same("image id", s.out(&["image", "inspect", "-f", "{{.Id}}", &exact])?, id)?;
    let known = s.out(&["image", "inspect", "-f", "{{join .RepoDigests \" \"}}", &exact])?;
    ensure!(known.split(' ').any(|known| known == exact), "{exact} is not among the digests {known}");
    s.out(&["rmi", &exact]).map(drop)
}

fn build_push(stage: &Stage, name: &str) -> Result<()> {
    let s = stage.session;
    let dir = stage.folder("registry-push")?;
    let mut noise = vec![0; 6 << 20];
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for word in noise.chunks_exact_mut(8) {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1).rotate_left(17);
        word.copy_from_slice(&state.to_le_bytes());
    }
    fs::write(dir.join("noise"), &noise)?;
    fs::write(dir.join("Dockerfile"), format!("FROM {BUSYBOX}\nCOPY noise /noise\n"))?;
    let about = dir.join("about.json");
    let run = s.docker(["buildx", "build", "--push", "-t", name, "--metadata-file"]).args([&about, &dir]);
    run.within(s.seconds(120)).ok()?;
    let about: Value = serde_json::from_slice(&fs::read(&about)?)?;
    let digest = about["containerimage.digest"].as_str().context("buildx names no digest")?;
    // This builder keeps what it pushes.
    s.out(&["rmi", name])?;
    let said = s.docker(["pull", name]).within(s.seconds(120)).ok()?.text();
    ensure!(said.contains(digest), "buildx pushed {digest}, pull says {said}");
    let sum = s.out(&["run", "--rm", name, "sha256sum", "/noise"])?;
    same("hash of the file", sum.split(' ').next(), Some(hex(&sha2::Sha256::digest(&noise)).as_str()))?;
    s.out(&["rmi", name]).map(drop)
}

fn manifest(s: &Session, name: &str) -> Result<()> {
    fresh(s, name, "inspected")?;
    let digest = push(s, name)?;
    let done = s.docker(["manifest", "inspect", "--insecure", "--verbose", name]).ok()?;
    let manifest: Value = serde_json::from_slice(&done.stdout)?;
    same("digest", manifest["Descriptor"]["digest"].as_str(), Some(digest.as_str()))?;
    let layers = manifest["SchemaV2Manifest"]["layers"].as_array().map(Vec::len);
    same("layers", layers, Some(2))?;
    s.out(&["rmi", name]).map(drop)
}

fn imagetools(s: &Session, name: &str) -> Result<()> {
    let (one, two) = (format!("{name}:1"), format!("{name}:2"));
    fresh(s, &one, "twice tagged")?;
    let digest = push(s, &one)?;
    let raw = s.docker(["buildx", "imagetools", "inspect", "--raw", &one]).ok()?;
    same("hash of the manifest", format!("sha256:{}", raw.stdout_sha256), digest)?;
    s.docker(["buildx", "imagetools", "create", "-t", &two, &one]).ok()?;
    s.out(&["rmi", &one])?;
    s.out(&["pull", "-q", &two])?;
    same("its content", s.out(&["run", "--rm", &two, "cat", "/word"])?, "twice tagged".to_owned())?;
    s.out(&["rmi", &two]).map(drop)
}

fn unknown(s: &Session, name: &str) -> Result<()> {
    let done = s.docker(["pull", name]).finish()?;
    ensure!(!done.status.success() && done.talk().contains("not found"), "pull said {} {}", done.text(), done.talk());
    Ok(())
}
