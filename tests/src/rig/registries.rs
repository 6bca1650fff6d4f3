//! Registries in the made-up world: Debian's `docker-registry`, once over plain HTTP and once over TLS with a certificate of a
//! private authority. The network rig starts them for the cases of `docker::registry`.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};

use super::tools::Tools;
use super::world::{SERVER, UNREACHABLE, World};
use crate::packages::{self, Package};
use crate::process::Run;

/// Plain HTTP.
pub const PLAIN: u16 = 5000;
/// TLS, also on an address that only the neighbour itself reaches.
pub const TLS: u16 = 5443;

/// Until a registry listens, on a busy host.
const PATIENCE: Duration = Duration::from_secs(60);

/// The registries; they go when this is dropped.
pub struct Registries {
    running: Vec<Child>,
}

/// The private authority's certificate below the folder that the registries were started in.
pub const AUTHORITY: &str = "authority.pem";

/// Brings what the registries are made of to this host, for a rig that has no way out.
pub fn fetch(cache: &Path) -> Result<()> {
    packages::ensure(OPENSSL)?;
    lighter_image::tools::all_unpacked(cache, &["docker-registry", "libc6"])?;
    Ok(())
}

const OPENSSL: &[Package] = &[Package { name: "openssl", probe: "openssl" }];

impl Registries {
    /// Makes certificates in `dir` and starts both in the neighbouring namespace.
    pub fn start(tools: &Tools, world: &World, dir: &Path) -> Result<Registries> {
        packages::ensure(OPENSSL)?;
        fs::create_dir_all(dir)?;
        certificates(dir).context("make certificates")?;
        let mut registries = Registries { running: Vec::new() };
        let tls = format!("tls: {{certificate: {0}/server.pem, key: {0}/server.key}}", dir.display());
        for (port, http) in [(PLAIN, String::new()), (TLS, format!(", {tls}"))] {
            let config = format!(
                "version: 0.1\nstorage: {{filesystem: {{rootdirectory: {}/store-{port}}}}}\nhttp: {{addr: '0.0.0.0:{port}'{http}}}\n",
                dir.display()
            );
            let path = dir.join(format!("{port}.yml"));
            fs::write(&path, config)?;
            registries.running.push(serve(tools, world, &path).with_context(|| format!("start {}", path.display()))?);
        }
        Ok(registries)
    }
}

impl Drop for Registries {
    fn drop(&mut self) {
        for child in &mut self.running {
            // One that has ended by itself is gone already.
            drop(child.kill());
            drop(child.wait());
        }
    }
}

/// An authority, and a certificate of its for the neighbour's name and addresses.
fn certificates(dir: &Path) -> Result<()> {
    let openssl = |words: &str| Run::new("openssl").args(words.split(' ')).dir(dir).ok().map(drop);
    openssl(
        "req -x509 -newkey rsa:2048 -nodes -days 30 -subj /CN=lighter-test-authority -keyout authority.key -out authority.pem",
    )?;
    openssl("req -newkey rsa:2048 -nodes -subj /CN=server.world.test -keyout server.key -out server.csr")?;
    fs::write(dir.join("names"), format!("subjectAltName=DNS:server.world.test,IP:{SERVER},IP:{UNREACHABLE}\n"))?;
    openssl(
        "x509 -req -in server.csr -CA authority.pem -CAkey authority.key -CAcreateserial -days 30 -extfile names -out server.pem",
    )
}

/// Runs one registry until it says that it listens.
fn serve(tools: &Tools, world: &World, config: &Path) -> Result<Child> {
    let tree = lighter_image::tools::unpacked(&tools.cache, "docker-registry")?;
    let find = Run::new("find").args([&tree]).args([
        "-name",
        "docker-registry",
        "-type",
        "f",
        "-perm",
        "-100",
        "-size",
        "+64k",
    ]);
    let program = find.ok()?.text().lines().next().map(PathBuf::from).context("the package has no docker-registry")?;
    // It is of the guest's release of Debian, so it wants that one's libc.
    let libc = lighter_image::tools::unpacked(&tools.cache, "libc6")?.join("usr/lib/x86_64-linux-gnu");
    let run = world.outside(&libc.join("ld-linux-x86-64.so.2")).args(["--library-path"]).args([&libc, &program]);
    let mut command = run.args(["serve"]).args([config]).into_command();
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
    let stderr = child.stderr.take().context("it was asked to be a pipe")?;
    let (listens, told) = mpsc::channel();
    thread::spawn(move || {
        // Read to the end, because a full pipe would stop it.
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            if line.contains("listening on") {
                // Who asked has given up, if nobody listens.
                let _ = listens.send(());
            }
        }
    });
    if told.recv_timeout(PATIENCE).is_err() {
        drop(child.kill());
        drop(child.wait());
        anyhow::bail!("it did not listen within {} s", PATIENCE.as_secs());
    }
    Ok(child)
}
