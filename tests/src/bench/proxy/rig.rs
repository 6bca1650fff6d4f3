//! The processes of a native measurement of the API proxy: a stand-in dockerd, `lighter` itself in front of it (its machine
//! replaced by a dialer to the stand-in's socket, see the example `proxy_rig`), and `socat` in front of it. Used by
//! `bench proxy`, `soak proxy` and the suite `load`. Everything listens in one scratch folder and ends with the [`Rig`].

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

use crate::bench::private_memory;
use crate::process::{Run, wait};
use crate::products;

/// How long a process may take until its socket answers.
const START: Duration = Duration::from_secs(60);

/// A stand-in dockerd and the daemon in front of it.
pub struct Rig {
    /// dockerd's socket.
    pub engine: PathBuf,
    /// lighter's socket.
    pub lighter: PathBuf,
    /// The rig's program, which is also the load.
    pub program: PathBuf,
    daemon: Server,
    dockerd: Option<Server>,
    dir: tempfile::TempDir,
}

/// A child that listens on a socket; killed when it is dropped.
pub struct Server(Child);

/// A process that stands still (SIGSTOP) until this is dropped.
pub struct Still(Pid);

impl Still {
    fn new(server: &Server) -> Result<Self> {
        let pid = server.pid()?;
        kill_process(pid, Signal::STOP).context("SIGSTOP")?;
        let still = Self(pid);
        let end = Instant::now() + START;
        // The signal is on its way, to each thread.
        while !still.holds()? {
            ensure!(Instant::now() < end, "process {} does not stand still", pid.as_raw_nonzero());
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(still)
    }

    /// Whether it stands still as a whole.
    pub fn holds(&self) -> Result<bool> {
        for thread in fs::read_dir(format!("/proc/{}/task", self.0.as_raw_nonzero()))? {
            // Who has just ended does not stand still; behind the name in brackets, which may hold anything, comes the state.
            let stat = fs::read_to_string(thread?.path().join("stat")).unwrap_or_default();
            if !stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('T')) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

impl Drop for Still {
    fn drop(&mut self) {
        // Killed meanwhile, it needs nothing more.
        let _ = kill_process(self.0, Signal::CONT);
    }
}

impl Server {
    fn pid(&self) -> Result<Pid> {
        Pid::from_raw(self.0.id() as i32).context("a child has no pid")
    }

    /// Starts `command` and waits until GET `/_ping` is answered on `socket`.
    fn start(mut command: Command, socket: &Path) -> Result<Self> {
        let quiet = command.stdin(Stdio::null()).stdout(Stdio::null());
        let mut server = Self(quiet.spawn().with_context(|| format!("cannot run {command:?}"))?);
        let end = Instant::now() + START;
        loop {
            match lighter_meter::fresh(socket, "/_ping", 1) {
                Ok(_) => return Ok(server),
                Err(error) if Instant::now() > end => {
                    return Err(error).with_context(|| format!("{command:?} does not answer"));
                }
                Err(_) => std::thread::sleep(Duration::from_millis(20)),
            }
            if let Some(status) = server.0.try_wait()? {
                bail!("{command:?} ended with {status}");
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // SIGTERM first, so that who has children or files to remove can.
        if let Ok(pid) = self.pid() {
            // It may have ended by itself.
            let _ = kill_process(pid, Signal::TERM);
        }
        drop(wait(&mut self.0, Duration::from_secs(10)));
    }
}

impl Rig {
    /// Builds and starts both, the daemon as it is shipped.
    pub fn start() -> Result<Self> {
        Self::start_with(&[])
    }

    /// The same with a daemon whose threads keep no freed chunks for themselves. Those caches are bounded, but each chunk in
    /// them holds a page of the heap, a megabyte and more after a burst: a leak of that size would not be seen beside them.
    pub fn start_for_leaks() -> Result<Self> {
        Self::start_with(&[("GLIBC_TUNABLES", "glibc.malloc.tcache_count=0")])
    }

    fn start_with(environment: &[(&str, &str)]) -> Result<Self> {
        let program = products::proxy_rig()?;
        let dir = tempfile::Builder::new().prefix("lp").tempdir_in("/tmp")?;
        let (engine, home) = (dir.path().join("engine.sock"), dir.path().join("home"));
        let lighter = home.join("default/docker.sock");
        let dockerd = Some(start_engine(&program, &engine)?);
        let mut command = Command::new(&program);
        command.args(["start", "--foreground", "--activate=false", "--cpus", "1", "--memory", "1", "--disk", "1"]);
        command.env("LIGHTER_RIG_ENGINE", &engine).env("LIGHTER_HOME", &home).env("DOCKER_CONFIG", dir.path());
        let said = dir.path().join("said");
        command.envs(environment.iter().copied()).stderr(fs::File::create(&said)?);
        let daemon = Server::start(command, &lighter)
            .with_context(|| format!("it said: {}", fs::read_to_string(&said).unwrap_or_default().trim()))?;
        Ok(Self { engine, lighter, program, daemon, dockerd, dir })
    }

    /// The engine's process stands still for as long as this is held.
    pub fn engine_stands_still(&self) -> Result<Still> {
        Still::new(self.dockerd.as_ref().context("the engine was killed")?)
    }

    /// The same of the daemon.
    pub fn daemon_stands_still(&self) -> Result<Still> {
        Still::new(&self.daemon)
    }

    /// Kills the engine; when that was.
    pub fn kill_engine(&mut self) -> Result<Instant> {
        let mut engine = self.dockerd.take().context("the engine was killed already")?;
        let killed = Instant::now();
        engine.0.kill().context("SIGKILL")?;
        engine.0.wait()?;
        Ok(killed)
    }

    /// Starts another one on the same socket.
    pub fn engine_again(&mut self) -> Result<()> {
        self.dockerd = Some(start_engine(&self.program, &self.engine)?);
        Ok(())
    }

    /// A verb of the command line, for this daemon.
    pub fn cli(&self, words: &[&str]) -> Run {
        let run = Run::new(&self.program).args(words).env("LIGHTER_RIG_ENGINE", &self.engine);
        run.env("LIGHTER_HOME", self.dir.path().join("home")).env("DOCKER_CONFIG", self.dir.path())
    }

    /// `socat` in front of the same engine, with blocks as large as the proxy's, and its socket.
    pub fn socat(&self) -> Result<(Server, PathBuf)> {
        let socket = self.dir.path().join("socat.sock");
        let mut command = Command::new("socat");
        command.args(["-b", "65536"]);
        command.arg(format!("UNIX-LISTEN:{},fork,backlog=128", socket.display()));
        command.arg(format!("UNIX-CONNECT:{}", self.engine.display()));
        Ok((Server::start(command, &socket)?, socket))
    }

    /// The daemon's process.
    pub fn pid(&self) -> u32 {
        self.daemon.0.id()
    }

    /// The daemon's private memory.
    pub fn private_kib(&self) -> Result<u64> {
        private_memory::kib(u64::from(self.pid()))
    }

    /// How many descriptors the daemon has open.
    pub fn descriptors(&self) -> Result<usize> {
        let listed = fs::read_dir(format!("/proc/{}/fd", self.pid())).context("list the daemon's descriptors")?;
        Ok(listed.count())
    }

    /// How often the daemon's threads have gone to sleep so far.
    pub fn sleeps(&self) -> Result<u64> {
        let mut total = 0;
        for thread in fs::read_dir(format!("/proc/{}/task", self.pid())).context("list the daemon's threads")? {
            let status = fs::read_to_string(thread?.path().join("status"))?;
            let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
            total += line.context("no count of context switches")?.trim().parse::<u64>()?;
        }
        Ok(total)
    }

    /// Waits until the daemon has as many descriptors as `before`: the ends of connections arrive after their clients left.
    pub fn settle(&self, before: usize) -> Result<()> {
        let end = Instant::now() + START;
        while self.descriptors()? > before {
            let now = self.descriptors()?;
            ensure!(Instant::now() < end, "the daemon still has {now} descriptors open, {before} before");
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }
}

fn start_engine(program: &Path, socket: &Path) -> Result<Server> {
    let mut command = Command::new(program);
    command.arg("engine").arg(socket);
    Server::start(command, socket)
}
