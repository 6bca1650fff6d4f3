//! One home, one stand-in image, one docker configuration, and the program to run in them: this test binary again, which
//! is `lighter` over the stand-in when `LIGHTER_STAND_IN` names a directory.

use std::ffi::OsString;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

pub const STAND_IN: &str = "LIGHTER_STAND_IN";
/// What runs longer hangs, and fails by name instead of holding up all tests.
const PATIENCE: Duration = Duration::from_secs(60);
/// For failures, which take milliseconds: nobody is to wait longer to be told what is wrong.
const PROMPT: Duration = Duration::from_secs(10);

pub struct Lab {
    dir: tempfile::TempDir,
    home: PathBuf,
}

/// What a program said.
#[derive(Debug)]
pub struct Said {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Lab {
    pub fn new() -> Lab {
        Lab::with_home("home")
    }

    /// With a home of this name below the lab.
    pub fn with_home(home: &str) -> Lab {
        let dir = tempfile::Builder::new().prefix("lt").tempdir().unwrap();
        for part in ["kernel", "root", "agent"] {
            std::fs::create_dir_all(dir.path().join("image")).unwrap();
            std::fs::write(dir.path().join("image").join(part), part).unwrap();
        }
        let home = dir.path().join(home);
        Lab { dir, home }
    }

    pub fn home(&self) -> &Path {
        &self.home
    }
    pub fn profile(&self) -> PathBuf {
        self.home.join("default")
    }
    pub fn docker(&self) -> PathBuf {
        self.dir.path().join("docker")
    }
    /// A file beside the image.
    pub fn image(&self, name: &str) -> PathBuf {
        self.dir.path().join("image").join(name)
    }
    pub fn mode(&self, mode: &str) {
        std::fs::write(self.image("mode"), mode).unwrap();
    }

    pub fn command(&self, args: &[&str]) -> Command {
        self.through(&[], args)
    }

    /// Run by another program, whose words come first.
    pub fn through(&self, wrapper: &[&str], args: &[&str]) -> Command {
        let itself = std::env::current_exe().unwrap();
        let mut words =
            wrapper.iter().map(OsString::from).chain([itself.into()]).chain(args.iter().map(OsString::from));
        let mut command = Command::new(words.next().unwrap());
        command.args(words).env(STAND_IN, self.dir.path().join("image"));
        command.env("LIGHTER_HOME", &self.home).env("DOCKER_CONFIG", self.docker());
        command.env_remove("DOCKER_HOST").env_remove("DOCKER_CONTEXT").env_remove("LIGHTER_TIMELINE");
        for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"] {
            command.env_remove(name).env_remove(name.to_lowercase());
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    pub fn spawn(&self, args: &[&str]) -> Child {
        self.command(args).spawn().unwrap()
    }

    pub fn lighter(&self, args: &[&str]) -> Said {
        end(self.spawn(args))
    }

    /// Runs it and demands that it fails at once.
    pub fn fails(&self, args: &[&str]) -> Said {
        fails(self.spawn(args))
    }

    pub fn with_input(&self, args: &[&str], input: &str) -> Said {
        let mut child = self.command(args).stdin(Stdio::piped()).spawn().unwrap();
        let (mut stdin, input) = (child.stdin.take().unwrap(), input.to_owned());
        let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
        let said = end(child);
        writer.join().unwrap().unwrap();
        said
    }

    /// Runs it and demands success.
    pub fn ok(&self, args: &[&str]) -> Said {
        let said = self.lighter(args);
        assert_eq!(said.code, Some(0), "lighter {args:?}: {said:#?}");
        said
    }

    pub fn status(&self) -> serde_json::Value {
        serde_json::from_str(&self.ok(&["status", "--json"]).stdout).unwrap()
    }

    /// How many machines there ever were.
    pub fn machines(&self) -> usize {
        std::fs::read_to_string(self.image("machines")).unwrap_or_default().lines().count()
    }

    /// Processes that live in this home.
    pub fn processes(&self) -> Vec<u32> {
        let wanted = format!("LIGHTER_HOME={}", self.home.display());
        let ids =
            std::fs::read_dir("/proc").unwrap().filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok());
        ids.filter(|id: &u32| {
            let environment = std::fs::read(format!("/proc/{id}/environ")).unwrap_or_default();
            environment.split(|byte| *byte == 0).any(|variable| variable == wanted.as_bytes())
        })
        .collect()
    }

    /// Sends a signal to the profile's daemon.
    pub fn signal(&self, name: &str) {
        let pid = self.status()["pid"].to_string();
        assert!(Command::new("kill").args([name, &pid]).status().unwrap().success());
    }

    /// A client of the API.
    pub fn client(&self) -> UnixStream {
        UnixStream::connect(self.profile().join("docker.sock")).unwrap()
    }

    /// Asks the API once; the answer as it came.
    pub fn ask(&self, method: &str, path: &str) -> String {
        let mut client = self.client();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client
            .write_all(format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes())
            .unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap_or_else(|error| panic!("{method} {path}: {error}, after {answer:?}"));
        answer
    }

    /// Files of the profile, by name.
    pub fn files(&self) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(self.profile()) else { return Vec::new() };
        let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// Demands that no process, socket, lock or temporary file is left.
    pub fn assert_clean(&self) {
        eventually("the last process is gone", || self.processes().is_empty());
        // The last one stays when nobody has run `lighter stop`, which reads it.
        let known = ["config.toml", "console.log", "daemon.log", "data.img", "known-answers.json", "previous-context"];
        let files = self.files();
        assert!(files.iter().all(|name| known.contains(&name.as_str())), "left over: {files:?}");
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for id in self.processes() {
            let _ = Command::new("kill").args(["-9", &id.to_string()]).status();
        }
    }
}

/// What a program says until it ends, and everybody who has its pipes. One that does not within `limit` is killed, and the
/// test fails with its name.
fn within(child: Child, limit: Duration) -> Said {
    let id = child.id();
    let (sender, ended) = mpsc::channel();
    let waiting = std::thread::spawn(move || drop(sender.send(child.wait_with_output())));
    let output = ended.recv_timeout(limit).unwrap_or_else(|_| {
        let words = std::fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
        let words: Vec<_> = words.split(|byte| *byte == 0).skip(1).map(String::from_utf8_lossy).collect();
        // It cannot have been waited for, so this number is still its own; unless it has ended just now.
        let _ = Command::new("kill").args(["-9", &id.to_string()]).status();
        panic!("`lighter {}` had not ended after {} s and was killed", words.join(" ").trim(), limit.as_secs());
    });
    waiting.join().unwrap();
    let Output { status, stdout, stderr } = output.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Said { code: status.code(), stdout: text(stdout), stderr: text(stderr) }
}

pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Whether a program can be given mounts of its own here.
pub fn can_mount() -> bool {
    let can =
        is_root() && Command::new("unshare").args(["--mount", "true"]).status().is_ok_and(|status| status.success());
    if !can {
        println!("not root, or not allowed to mount: the parts that need mounts were left out");
    }
    can
}

pub fn docker_is_here() -> bool {
    let found = Command::new("docker").arg("--version").output().is_ok_and(|output| output.status.success());
    if !found {
        println!("no docker CLI here: the parts that need one were left out");
    }
    found
}

/// What a program said that was spawned.
pub fn end(child: Child) -> Said {
    within(child, PATIENCE)
}

/// The same of one that must succeed as soon as one fails.
pub fn ends_promptly(child: Child) -> Said {
    within(child, PROMPT)
}

/// The same of one that must fail at once.
pub fn fails(child: Child) -> Said {
    let said = ends_promptly(child);
    assert_eq!(said.code, Some(1), "{said:#?}");
    said
}

/// Waits for what another process does.
pub fn eventually(what: &str, mut check: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !check() {
        assert!(Instant::now() < deadline, "waited 60 s until {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
