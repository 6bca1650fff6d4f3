//! Published ports on their way through the agent, between a `docker-proxy` and a stand-in for the host.
#![allow(clippy::unwrap_used, missing_docs)]

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use lighter_agent::docker_proxy::{self, ArgumentError, ask, hold, parse};
use lighter_agent::frames::Frames;
use lighter_agent::publish;
use lighter_protocol::{Port, Publish, Published, Transport};
use rustix::process::{Uid, geteuid};

const SECRET: &str = "5ec2e7";

fn deadline() -> Instant {
    Instant::now() + Duration::from_secs(30)
}

fn port() -> Port {
    parse(arguments("127.0.0.1", "8080").into_iter()).unwrap()
}

fn arguments(host_ip: &str, host_port: &str) -> Vec<String> {
    let rest = ["-container-ip", "172.17.0.2", "-container-port", "80"];
    ["-proto", "tcp", "-host-ip", host_ip, "-host-port", host_port].into_iter().chain(rest).map(str::to_owned).collect()
}

/// An agent that serves processes of `owner`, and the host that it dials.
struct Rig {
    _dir: tempfile::TempDir,
    socket: PathBuf,
    host: UnixListener,
}

impl Rig {
    fn new(owner: Uid) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (socket, host) = (dir.path().join("publish.sock"), dir.path().join("host.sock"));
        let listener = UnixListener::bind(&host).unwrap();
        let dial = move || UnixStream::connect(&host).map(OwnedFd::from);
        publish::accept(publish::listen(&socket).unwrap(), owner, SECRET.to_owned(), dial).unwrap();
        Self { _dir: dir, socket, host: listener }
    }

    /// The host's end of the next port, and what it is asked.
    fn call(&self) -> (Frames, Publish) {
        let mut call = Frames::new(self.host.accept().unwrap().0.into());
        let publish = call.message(deadline()).unwrap().unwrap();
        (call, publish)
    }
}

#[test]
fn a_port_lives_as_long_as_its_process_and_ends_when_the_host_listens_no_more() {
    let rig = Rig::new(geteuid());
    let socket = rig.socket.clone();
    let (signals, signal) = std::io::pipe().unwrap();
    let proxy = thread::spawn(move || {
        let (answer, agent) = ask(&socket, &port()).unwrap();
        assert_eq!(answer, Published::Listening);
        hold(&signals.into(), agent).unwrap()
    });
    let (mut call, publish) = rig.call();
    assert_eq!(publish, Publish { secret: SECRET.to_owned(), port: port() });
    call.send(&Published::Listening, deadline()).unwrap();
    (&signal).write_all(b"x").unwrap();
    assert!(call.message::<Published>(deadline()).unwrap().is_none(), "the end of the agent's side");
    assert!(!proxy.is_finished(), "the host still listens");
    drop(call);
    assert!(proxy.join().unwrap(), "the end was asked for");
}

#[test]
fn x1_a_process_that_is_killed_ends_its_port_and_a_host_that_goes_ends_the_process() {
    let rig = Rig::new(geteuid());
    let socket = rig.socket.clone();
    let asked = thread::spawn(move || ask(&socket, &port()).unwrap());
    let (mut call, _) = rig.call();
    call.send(&Published::Listening, deadline()).unwrap();
    // All that is left of a killed process is that its descriptors are closed.
    drop(asked.join().unwrap());
    assert!(call.message::<Published>(deadline()).unwrap().is_none());

    let socket = rig.socket.clone();
    let (signals, _signal) = std::io::pipe().unwrap();
    let proxy = thread::spawn(move || hold(&signals.into(), ask(&socket, &port()).unwrap().1).unwrap());
    let (mut call, _) = rig.call();
    call.send(&Published::Listening, deadline()).unwrap();
    drop(call);
    assert!(!proxy.join().unwrap(), "nobody asked for the end");
}

#[test]
fn h11_a_refusal_reaches_the_process_word_by_word() {
    let rig = Rig::new(geteuid());
    let socket = rig.socket.clone();
    let asked = thread::spawn(move || ask(&socket, &port()).unwrap().0);
    let refused = Published::Refused { message: "127.0.0.1:8080/tcp is in use".to_owned() };
    let (mut call, _) = rig.call();
    call.send(&refused, deadline()).unwrap();
    assert_eq!(asked.join().unwrap(), refused);
    assert!(call.message::<Published>(deadline()).unwrap().is_none());

    // A host that hangs up gives a reason too.
    let socket = rig.socket.clone();
    let asked = thread::spawn(move || ask(&socket, &port()).unwrap().0);
    drop(rig.call());
    let Published::Refused { message } = asked.join().unwrap() else { panic!("nobody listens") };
    assert!(message.contains("lighter does not answer on the host"), "{message}");
}

#[test]
fn a2_nobody_but_the_owner_is_heard() {
    let rig = Rig::new(Uid::from_raw(geteuid().as_raw() ^ 1));
    assert!(ask(&rig.socket, &port()).is_err());
    rig.host.set_nonblocking(true).unwrap();
    assert!(rig.host.accept().is_err(), "the host was asked");
    let mode = std::os::unix::fs::PermissionsExt::mode(&rig.socket.metadata().unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn h11_ports_zones_and_host_names_that_are_none_are_refused() {
    let parse = |ip: &str, port: &str| parse(arguments(ip, port).into_iter());
    assert_eq!(parse("::1", "65535").unwrap().host_port, 65_535);
    for number in ["65536", "-1", "", "http", "1e3"] {
        assert_eq!(parse("::", number), Err(ArgumentError::Senseless("host-port", number.to_owned())));
    }
    for address in ["localhost", "fe80::1%eth0", "127.0.0.1:80", "256.0.0.1", "", "0"] {
        assert_eq!(parse(address, "80"), Err(ArgumentError::Senseless("host-ip", address.to_owned())));
    }
    let mut sctp = arguments("::", "80");
    sctp[1] = "sctp".to_owned();
    assert_eq!(docker_proxy::parse(sctp.into_iter()).unwrap().protocol, Transport::Sctp);
    assert_eq!(docker_proxy::parse(std::iter::empty()), Err(ArgumentError::Missing("proto")));
}

#[test]
fn the_program_tells_dockerd_why_it_does_not_listen() {
    let dir = tempfile::tempdir().unwrap();
    let told = dir.path().join("told");
    // The agent is not here, and says so where dockerd reads; `exec -a` gives the name by which it is asked to be this program.
    let script = "exec -a /run/lighter/docker-proxy \"$0\" -proto tcp 3> \"$1\"";
    let ended =
        Command::new("bash").args(["-c", script, env!("CARGO_BIN_EXE_lighter-agent")]).arg(&told).status().unwrap();
    let mut text = String::new();
    File::open(&told).unwrap().read_to_string(&mut text).unwrap();
    assert_eq!((ended.code(), text.as_str()), (Some(1), "1\ndockerd did not say host-ip"));
}
