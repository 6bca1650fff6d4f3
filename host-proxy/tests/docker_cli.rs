//! The Docker API proxy between the real `docker` CLI, on a real socket, and the stand-in engine.
#![allow(clippy::unwrap_used, missing_docs)]

mod stand_in;
mod sys;

use std::{process::Stdio, sync::Arc};

use lighter::{docker::serve_connection, guest::GuestDialer};
use sha2::{Digest, Sha256};
use stand_in::{
    Machine,
    engine::{Engine, Event},
    soon,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    process::{Child, Command},
    sync::mpsc,
};

/// A socket with the proxy behind it and the stand-in engine behind that.
struct Rig {
    address: String,
    config: tempfile::TempDir,
    events: mpsc::UnboundedReceiver<Event>,
}

impl Rig {
    async fn new() -> Rig {
        let listener = sys::Listener::new().await;
        let address = listener.address();
        let (engine, events) = Engine::new();
        let mut machine = Machine::new();
        let dialer: Arc<dyn GuestDialer> = machine.dialer.clone();
        tokio::spawn(async move {
            loop {
                tokio::spawn(serve_connection(listener.accept().await, dialer.clone()));
            }
        });
        tokio::spawn(async move {
            while let Some(end) = machine.next_dial().await {
                tokio::spawn(engine.clone().serve(end.stream));
            }
        });
        Rig { address, config: tempfile::tempdir().unwrap(), events }
    }

    fn docker(&self, args: &[&str]) -> Child {
        Command::new("docker")
            .args(["-H", &self.address])
            .args(args)
            .env("DOCKER_CONFIG", self.config.path())
            .env_remove("DOCKER_API_VERSION")
            .env_remove("DOCKER_CONTEXT")
            .env_remove("DOCKER_TLS_VERIFY")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("this test drives the docker CLI: it must be in PATH")
    }

    /// Runs it to its end with `stdin`; what it printed.
    async fn output(&self, args: &[&str], stdin: Vec<u8>) -> Vec<u8> {
        let mut child = self.docker(args);
        let mut pipe = child.stdin.take().unwrap();
        let feed = tokio::spawn(async move { pipe.write_all(&stdin).await });
        let output = soon(args[0], child.wait_with_output()).await.unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "docker {args:?}: {errors}");
        feed.await.unwrap().unwrap();
        output.stdout
    }
}

fn noise(count: usize) -> Vec<u8> {
    (0..count as u64).map(|n| (n.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8).collect()
}

#[tokio::test]
async fn docker_lists_and_reports() {
    let rig = Rig::new().await;
    let version = rig.output(&["version", "--format", "{{.Server.Version}} {{.Server.APIVersion}}"], vec![]).await;
    assert_eq!(String::from_utf8(version).unwrap().trim(), "26.1.5 1.45");
    assert!(rig.output(&["ps", "-q"], vec![]).await.is_empty());
}

#[tokio::test]
async fn h6_docker_run_and_exec_end_by_themselves_when_stdin_does() {
    let rig = Rig::new().await;
    for stdin in [b"hi".to_vec(), vec![], noise(5 << 20)] {
        assert!(rig.output(&["run", "-i", "image", "cat"], stdin.clone()).await == stdin, "run changed its stdin");
        assert!(rig.output(&["exec", "-i", "c", "cat"], stdin.clone()).await == stdin, "exec changed its stdin");
    }
}

#[tokio::test]
async fn h7_docker_load_uploads_every_byte() {
    let rig = Rig::new().await;
    let archive = noise(20 << 20);
    let hash: String = Sha256::digest(&archive).iter().map(|b| format!("{b:02x}")).collect();
    let printed = String::from_utf8(rig.output(&["load"], archive).await).unwrap();
    assert!(printed.contains(&format!("{} {hash}", 20 << 20)), "{printed}");
}

#[tokio::test]
async fn h6_killing_docker_events_ends_the_stream_in_the_engine() {
    let mut rig = Rig::new().await;
    let mut child = rig.docker(&["events"]);
    assert_eq!(soon("request", rig.events.recv()).await, Some(Event::EventsRequested));
    child.kill().await.unwrap();
    assert_eq!(soon("end", rig.events.recv()).await, Some(Event::EventsEnded));
}

/// Sends a signal to a process of ours, where there are such things.
async fn signal(child: &Child, name: &str) -> bool {
    let pid = child.id().unwrap().to_string();
    Command::new("kill").args([name, &pid]).status().await.is_ok_and(|status| status.success())
}

/// Ctrl-Z in one terminal, work in another, `fg`.
#[tokio::test]
async fn x2_a_stopped_docker_run_blocks_nobody_and_goes_on_where_it_was() {
    let rig = Rig::new().await;
    let stdin = noise(8 << 20);
    let mut child = rig.docker(&["run", "-i", "image", "cat"]);
    let mut output = child.stdout.take().unwrap();
    let mut pipe = child.stdin.take().unwrap();
    let mut first = vec![0; 1 << 20];
    let feed = tokio::spawn({
        let stdin = stdin.clone();
        async move { pipe.write_all(&stdin).await }
    });
    soon("output", output.read_exact(&mut first)).await.unwrap();
    if !signal(&child, "-STOP").await {
        return;
    }
    for _ in 0..3 {
        assert!(rig.output(&["exec", "-i", "c", "cat"], stdin.clone()).await == stdin, "exec changed its stdin");
    }
    assert!(!feed.is_finished(), "all was through before it was stopped");
    assert!(signal(&child, "-CONT").await);
    let mut rest = Vec::new();
    soon("the rest", output.read_to_end(&mut rest)).await.unwrap();
    feed.await.unwrap().unwrap();
    assert!([first, rest].concat() == stdin, "run changed its stdin");
    assert!(soon("run", child.wait()).await.unwrap().success());
}

/// SIGKILL in the middle of a large upload and of a running container.
#[tokio::test]
async fn x1_killed_docker_clients_leave_the_others_and_the_next_ones_alone() {
    let rig = Rig::new().await;
    for args in [&["load"][..], &["run", "-i", "image", "cat"], &["exec", "-i", "c", "cat"]].repeat(4) {
        let mut child = rig.docker(args);
        let mut pipe = child.stdin.take().unwrap();
        if args[0] == "load" {
            // Under way for certain: more than every buffer between here and the engine takes.
            soon("upload", pipe.write_all(&noise(2 << 20))).await.unwrap();
        } else {
            soon("stdin", pipe.write_all(&noise(1000))).await.unwrap();
            let mut output = vec![0; 1000];
            soon("output", child.stdout.as_mut().unwrap().read_exact(&mut output)).await.unwrap();
        }
        child.kill().await.unwrap();
    }
    assert!(rig.output(&["exec", "-i", "c", "cat"], b"hi".to_vec()).await == b"hi");
}

#[tokio::test]
async fn docker_prints_why_the_engine_cannot_be_reached() {
    let listener = sys::Listener::new().await;
    let mut rig = Rig::new().await;
    rig.address = listener.address();
    let dialer = Machine::unreachable("the machine stopped: its kernel panicked").dialer;
    tokio::spawn(async move {
        loop {
            tokio::spawn(serve_connection(listener.accept().await, dialer.clone()));
        }
    });
    for args in [&["version"][..], &["run", "image"], &["load"]] {
        let mut child = rig.docker(args);
        child.stdin.take().unwrap().shutdown().await.unwrap();
        let output = soon(args[0], child.wait_with_output()).await.unwrap();
        let errors = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success());
        assert!(errors.contains("the machine stopped: its kernel panicked"), "docker {args:?} printed: {errors}");
        assert!(errors.contains("lighter logs"), "docker {args:?} printed: {errors}");
    }
}
