//! The three stacks, each with two guests: one with the largest MTU, one with Ethernet's. Every guest has a process of its
//! own, which waits without using the processor while another one is measured. Called by `inside`.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::{clients, world};

/// What is compared, in this order everywhere.
pub const NAMES: [&str; 3] = ["lighter", "pasta", "slirp4netns"];
/// lighter among them.
pub const OURS: usize = 0;
/// MTUs of the guests' interfaces in bytes.
pub const MTUS: [u16; 2] = [65_520, 1500];
/// How long a stack may take until it carries a connection.
const START: Duration = Duration::from_secs(20);
/// The guest's interface.
const DEVICE: &str = "tap0";

/// A running stack and its guest. The process is ended by the end of this one.
pub struct Stack {
    /// The guest's namespace.
    pub guest: String,
    /// The process that does the work.
    pub pid: u32,
}

/// By MTU, then by name.
pub type Stacks = [[Stack; 3]; 2];

/// Starts all of them.
pub fn start(rig: &Path) -> Result<Stacks> {
    let of = |mtu| -> Result<[Stack; 3]> { Ok([lighter(rig, mtu)?, pasta(mtu)?, slirp4netns(mtu)?]) };
    Ok([of(MTUS[0])?, of(MTUS[1])?])
}

fn lighter(rig: &Path, mtu: u16) -> Result<Stack> {
    let guest = guest("lighter", mtu)?;
    let mut child = at_home(rig, |command| {
        command.arg(world::path(&guest)).arg(DEVICE).stdout(Stdio::piped());
    })?;
    let mut line = String::new();
    BufReader::new(child.stdout.take().context("no pipe")?).read_line(&mut line)?;
    // What the agent of a real guest is told.
    let welcome: Value = serde_json::from_str(&line).with_context(|| format!("the rig said {line:?}"))?;
    let (address, prefix) = (text(&welcome["addresses"][0][0])?, &welcome["addresses"][0][1]);
    let (mac, gateway) = (text(&welcome["mac"])?, text(&welcome["gateways"][0])?);
    world::ip(&format!("-n {guest} link set {DEVICE} address {mac} mtu {mtu} up"))?;
    world::ip(&format!("-n {guest} addr add {address}/{prefix} dev {DEVICE}"))?;
    world::ip(&format!("-n {guest} route add default via {gateway}"))?;
    ready(guest, child)
}

fn text(value: &Value) -> Result<&str> {
    value.as_str().with_context(|| format!("{value} is not what the rig should say"))
}

fn pasta(mtu: u16) -> Result<Stack> {
    let guest = guest("pasta", mtu)?;
    let child = at_home(Path::new("pasta"), |command| {
        command.args(["--foreground", "--quiet", "--config-net", "--no-map-gw", "--ipv4-only", "--runas", "0"]);
        command.args(["-t", "none", "-u", "none", "-T", "none", "-U", "none"]);
        command.args(["--mtu", &mtu.to_string(), "--ns-ifname", DEVICE, "--netns"]).arg(world::path(&guest));
    })?;
    ready(guest, child)
}

fn slirp4netns(mtu: u16) -> Result<Stack> {
    let guest = guest("slirp4netns", mtu)?;
    let child = at_home(Path::new("slirp4netns"), |command| {
        command.args(["--configure", "--disable-host-loopback", "--netns-type=path", "--mtu", &mtu.to_string()]);
        command.arg(world::path(&guest)).arg(DEVICE).stdout(Stdio::null());
    })?;
    ready(guest, child)
}

fn guest(name: &str, mtu: u16) -> Result<String> {
    let guest = format!("guest-{name}-{mtu}");
    world::guest(&guest)?;
    Ok(guest)
}

/// Runs a program where the stacks have their sockets; what it says of its own accord is left out unless it fails.
fn at_home(program: &Path, arguments: impl FnOnce(&mut Command)) -> Result<Child> {
    let mut command = Command::new("ip");
    // `ip netns exec` becomes the program, so its process is the program's.
    command.args(["netns", "exec", world::HOME]).arg(program).stdin(Stdio::null()).stderr(Stdio::null());
    arguments(&mut command);
    command.spawn().with_context(|| format!("cannot run {command:?}"))
}

/// Waits until the stack carries a connection.
fn ready(guest: String, mut child: Child) -> Result<Stack> {
    let end = Instant::now() + START;
    loop {
        match world::within(&guest, || clients::visits(Duration::from_millis(1))) {
            Ok(_) => return Ok(Stack { guest, pid: child.id() }),
            Err(error) if Instant::now() > end => return Err(error.context(format!("{guest} carries no connection"))),
            Err(_) => std::thread::sleep(Duration::from_millis(50)),
        }
        if let Some(status) = child.try_wait()? {
            bail!("the stack of {guest} ended with {status}");
        }
    }
}
