//! One home, one stand-in image, one docker configuration, and the program to run in them: this test binary again, which
//! is `lighter` over the stand-in when `LIGHTER_STAND_IN` names a directory.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

pub const STAND_IN: &str = "LIGHTER_STAND_IN";

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
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(args).env(STAND_IN, self.dir.path().join("image"));
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
        said(self.command(args).output().unwrap())
    }

    pub fn with_input(&self, args: &[&str], input: &str) -> Said {
        let mut child = self.command(args).stdin(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        said(child.wait_with_output().unwrap())
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
        client
            .write_all(format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes())
            .unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
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

fn said(output: Output) -> Said {
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Said { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
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
    said(child.wait_with_output().unwrap())
}

/// Waits for what another process does.
pub fn eventually(what: &str, mut check: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !check() {
        assert!(Instant::now() < deadline, "waited 60 s until {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
