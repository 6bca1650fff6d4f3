//! Byte streams through the proxy: standard input with its end, attach, follow, events, and bulk data compared by hash.

use std::io::{Cursor, Read};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::{BUSYBOX, Case, Session, same};
use crate::process::{Run, hex, wait};

/// The cases of this file.
pub fn cases() -> Vec<Case> {
    vec![
        Case { name: "stdin_end_reaches_cat_and_the_answer_comes_back", run: half_close },
        Case { name: "run_i_carries_100_mb_in_byte_exact", run: bulk_in },
        Case { name: "run_carries_100_mb_out_byte_exact", run: bulk_out },
        Case { name: "run_i_echoes_64_mb_both_ways", run: bulk_both },
        Case { name: "exec_i_ends_with_its_input", run: exec_eof },
        Case { name: "empty_stdin_ends_at_once", run: empty_stdin },
        Case { name: "attach_sees_output_and_exit_code", run: attach },
        Case { name: "logs_follow_ends_with_the_container", run: logs_follow },
        Case { name: "events_stream_while_things_happen", run: events },
        Case { name: "killed_client_leaves_the_container_running", run: killed_client },
        Case { name: "wait_and_many_at_once", run: many },
    ]
}

/// Bytes that do not compress into a pattern, made on the fly.
struct Noise {
    state: u64,
    left: u64,
}

impl Noise {
    fn new(bytes: u64) -> Self {
        Self { state: 0x9e37_79b9_7f4a_7c15, left: bytes }
    }
}

impl Read for Noise {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let count = (out.len() as u64).min(self.left) as usize;
        for chunk in out[..count].chunks_mut(8) {
            self.state ^= self.state << 13;
            self.state ^= self.state >> 7;
            self.state ^= self.state << 17;
            chunk.copy_from_slice(&self.state.to_le_bytes()[..chunk.len()]);
        }
        // Whole words only, so that the sequence does not depend on how it is cut into reads.
        let count = if count as u64 == self.left { count } else { count - count % 8 };
        self.left -= count as u64;
        Ok(count)
    }
}

fn noise_hash(bytes: u64) -> Result<String> {
    use sha2::Digest;
    let (mut noise, mut hash, mut buffer) = (Noise::new(bytes), sha2::Sha256::new(), vec![0u8; 64 << 10]);
    while let count @ 1.. = noise.read(&mut buffer)? {
        hash.update(&buffer[..count]);
    }
    Ok(hex(&hash.finalize()))
}

fn half_close(s: &Session) -> Result<()> {
    for _ in 0..3 {
        let done = s.docker(["run", "--rm", "-i", BUSYBOX, "cat"]).stdin(Cursor::new("hi")).ok()?;
        same("cat", done.stdout, b"hi".to_vec())?;
    }
    // The input ends long before the answer is written: a lost half-close hangs or cuts the answer.
    let late = s.docker(["run", "--rm", "-i", BUSYBOX, "sh", "-c", "cat >/dev/null; sleep 1; seq 20000"]);
    let done = late.stdin(Noise::new(1 << 20)).ok()?;
    same("lines after the end of input", done.text().lines().count(), 20000)
}

fn bulk_in(s: &Session) -> Result<()> {
    let run = s.docker(["run", "--rm", "-i", BUSYBOX, "sha256sum"]).within(s.seconds(240));
    let done = run.stdin(Noise::new(100_000_000)).ok()?;
    same(
        "hash in the container",
        done.text().split_whitespace().next().map(str::to_owned),
        Some(noise_hash(100_000_000)?),
    )
}

fn bulk_out(s: &Session) -> Result<()> {
    let command = "dd if=/dev/urandom of=/tmp/f bs=1M count=96 2>/dev/null; sha256sum /tmp/f >&2; cat /tmp/f";
    let done = s.docker(["run", "--rm", BUSYBOX, "sh", "-c", command]).within(s.seconds(240)).ok()?;
    same("bytes", done.stdout_bytes, 96 << 20)?;
    same("hash on the host", done.talk().split_whitespace().next().map(str::to_owned), Some(done.stdout_sha256))
}

fn bulk_both(s: &Session) -> Result<()> {
    let run = s.docker(["run", "--rm", "-i", BUSYBOX, "cat"]).within(s.seconds(240));
    let done = run.stdin(Noise::new(64 << 20)).ok()?;
    same("bytes", done.stdout_bytes, 64 << 20)?;
    same("hash of the echo", done.stdout_sha256, noise_hash(64 << 20)?)
}

fn exec_eof(s: &Session) -> Result<()> {
    s.out(&["run", "-d", "--name", "sink", BUSYBOX, "sleep", "600"])?;
    let done = s.docker(["exec", "-i", "sink", "wc", "-c"]).stdin(Noise::new(3_000_000)).ok()?;
    same("bytes counted", done.text(), "3000000".to_owned())?;
    let script = s.docker(["exec", "-i", "sink", "sh"]).stdin(Cursor::new("echo one\nexit 7\n")).finish()?;
    same("a piped script's code", script.status.code(), Some(7))?;
    same("a piped script's output", script.text(), "one".to_owned())
}

fn empty_stdin(s: &Session) -> Result<()> {
    let done = s.docker(["run", "--rm", "-i", BUSYBOX, "sh", "-c", "cat; echo end"]).stdin(Cursor::new("")).ok()?;
    same("output", done.text(), "end".to_owned())
}

fn attach(s: &Session) -> Result<()> {
    s.out(&["create", "-i", "--name", "shop", BUSYBOX, "sh", "-c", "read line; echo got $line; exit 5"])?;
    let done = s.docker(["start", "-a", "-i", "shop"]).stdin(Cursor::new("bread\n")).finish()?;
    same("attached output", done.text(), "got bread".to_owned())?;
    same("attached exit code", done.status.code(), Some(5))?;
    s.out(&["run", "-d", "--name", "late", BUSYBOX, "sh", "-c", "sleep 4; echo tail; exit 9"])?;
    let done = s.docker(["attach", "--no-stdin", "late"]).finish()?;
    same("late attach", (done.text(), done.status.code()), ("tail".to_owned(), Some(9)))
}

fn logs_follow(s: &Session) -> Result<()> {
    s.out(&["run", "-d", "--name", "ticker", BUSYBOX, "sh", "-c", "for i in 1 2 3; do echo tick $i; sleep 1; done"])?;
    same("followed lines", s.out(&["logs", "-f", "ticker"])?.lines().count(), 3)
}

fn events(s: &Session) -> Result<()> {
    let mut command = std::process::Command::new(&s.docker);
    command.args(["events", "--filter", "type=container", "--filter", "label=watch=me", "--format", "{{.Action}}"]);
    command.env("DOCKER_CONFIG", s.dir.join("docker")).env("LIGHTER_HOME", s.dir.join("home"));
    command.env_remove("DOCKER_HOST").env_remove("DOCKER_CONTEXT");
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    let mut pipe = child.stdout.take().context("no pipe")?;
    let (sender, receiver) = std::sync::mpsc::channel();
    let reader = std::thread::spawn(move || {
        let (mut seen, mut buffer) = (String::new(), [0u8; 256]);
        while let Ok(count @ 1..) = pipe.read(&mut buffer) {
            seen.push_str(&String::from_utf8_lossy(&buffer[..count]));
            if seen.contains("destroy") {
                drop(sender.send(seen.clone()));
            }
        }
    });
    // The stream has no "listening now" message: containers are made until one is seen from birth to death.
    let mut seen = Err(std::sync::mpsc::RecvTimeoutError::Timeout);
    for _ in 0..10 {
        s.out(&["run", "--rm", "--label", "watch=me", BUSYBOX, "true"])?;
        seen = receiver.recv_timeout(s.seconds(3));
        if seen.as_ref().is_ok_and(|text| text.contains("create")) {
            break;
        }
    }
    drop(child.kill());
    drop(child.wait());
    drop(reader.join());
    let seen = seen.context("no event came")?;
    for action in ["create", "attach", "start", "die", "destroy"] {
        ensure!(seen.lines().any(|line| line == action), "no {action} event in {seen:?}");
    }
    Ok(())
}

fn killed_client(s: &Session) -> Result<()> {
    let mut command = std::process::Command::new(&s.docker);
    command.args(["run", "--name", "survivor", BUSYBOX, "sleep", "600"]).env("DOCKER_CONFIG", s.dir.join("docker"));
    command.env_remove("DOCKER_HOST").env_remove("DOCKER_CONTEXT");
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    let end = std::time::Instant::now() + s.seconds(30);
    while s.out(&["ps", "-q", "--filter", "name=survivor", "--filter", "status=running"])?.is_empty() {
        ensure!(std::time::Instant::now() < end, "the container did not start");
    }
    child.kill()?;
    wait(&mut child, Duration::from_secs(10))?;
    same("after the client's death", s.out(&["inspect", "-f", "{{.State.Running}}", "survivor"])?, "true".to_owned())
}

fn many(s: &Session) -> Result<()> {
    let id = s.out(&["run", "-d", BUSYBOX, "sh", "-c", "sleep 2; exit 4"])?;
    same("wait", s.out(&["wait", &id])?, "4".to_owned())?;
    let calls: Vec<Run> = (0..16).map(|_| s.docker(["ps", "-a", "--format", "{{.ID}}"])).collect();
    std::thread::scope(|scope| {
        let threads: Vec<_> =
            calls.into_iter().map(|call| scope.spawn(move || call.ok().map(|done| done.text()))).collect();
        for thread in threads {
            let text = thread.join().map_err(|_| anyhow::anyhow!("a caller panicked"))??;
            ensure!(id.starts_with(&text) && !text.is_empty(), "a concurrent call answered {text:?}");
        }
        Ok(())
    })
}
