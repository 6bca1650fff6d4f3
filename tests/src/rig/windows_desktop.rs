//! The whole product for Windows, in the emulated machine: `lighter.exe start` under Wine boots the guest image through the calls
//! of the Windows hypervisor, for which the stand-in answers, and Windows programs talk to the engine by the daemon's pipe.
//! A scene of `windows_guest`.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::wine::{TARGET, Wine};
use super::{windows_desktop_docker, windows_docker};
use crate::clients::{self, Report};
use crate::docker::busybox_tar;
use crate::process::Run;
use crate::products;

/// The scene's name.
pub const NAME: &str = "desktop";
/// What one command may take: each exit of the guest is emulated, and Wine is between.
pub(super) const PATIENCE: Duration = Duration::from_secs(1200);
/// The clients, and which of their checks are made: each takes a minute in there. The part `pipes` makes all that need no container.
const CLIENTS: [(&str, &[&str]); 2] =
    [("desktop", &[]), ("bollard", &["version_info", "create_start_wait", "attach_", "exec_", "logs_"])];
/// Where the daemon listens for the profile `default`.
const DOCKER_HOST: &str = "npipe:////./pipe/lighter_default";

/// Paths of what the inner half runs. All of them, or none where the scene is not played.
#[derive(Debug, Clone, clap::Args)]
pub struct Paths {
    /// `docker.exe`.
    #[arg(long, required = false)]
    docker: PathBuf,
    /// `lighter.exe`.
    #[arg(long, required = false)]
    lighter: PathBuf,
    /// The folder of guest images, as the cache has it.
    #[arg(long, required = false)]
    images: PathBuf,
    /// The folder with the clients.
    #[arg(long, required = false)]
    clients: PathBuf,
}

impl Paths {
    /// Builds what is not there yet. `image` is the guest image's folder.
    pub fn built(image: &Path) -> Result<Self> {
        let images = image.parent().context("an image lies among images")?.to_owned();
        let clients = clients::install::rust_for(TARGET, &["desktop", "bollard"])?;
        let docker = windows_docker::built(&crate::image::cache()?)?;
        Ok(Self { docker, lighter: products::windows_lighter()?, images, clients })
    }

    /// As this program takes them.
    pub fn flags(&self) -> String {
        let paths = [
            ("docker", &self.docker),
            ("lighter", &self.lighter),
            ("images", &self.images),
            ("clients", &self.clients),
        ];
        paths.map(|(flag, path)| format!(" --{flag} {}", path.display())).concat()
    }
}

/// What there is for the scene.
struct Stage<'a> {
    asked: &'a Paths,
    wine: &'a Wine,
    /// Unpacked as a package would be.
    program: PathBuf,
    /// The user's home, as this system spells it.
    home: PathBuf,
}

/// Starts, uses and stops lighter. `place` is an empty folder.
pub fn play(asked: &Paths, wine: &Wine, place: &Path, busybox: &Path) -> Result<()> {
    fs::create_dir_all(place)?;
    let program = place.join("lighter.exe");
    fs::copy(&asked.lighter, &program).context("lighter.exe")?;
    symlink(&asked.images, place.join("image"))?;
    let archive = place.join("bb.tar");
    fs::write(&archive, busybox_tar(busybox)?)?;
    let home = home(wine)?;
    let stage = Stage { asked, wine, program, home };
    let used = || stage.used(&archive).and_then(|()| windows_desktop_docker::used(wine, &asked.docker, &stage.home));
    let played = stage.started().and_then(|()| used()).and_then(|()| stage.stopped());
    if played.is_err() {
        stage.show_logs();
        drop(stage.lighter(&["stop", "--quit", "--force"]).finish());
    }
    played
}

/// The one user of a prefix.
fn home(wine: &Wine) -> Result<PathBuf> {
    let users = wine.prefix().join("drive_c/users");
    let mut found = fs::read_dir(&users)?.filter_map(|user| Some(user.ok()?.path()));
    found.find(|path| !path.ends_with("Public")).with_context(|| format!("no user in {}", users.display()))
}

/// As Windows names what is in the user's home.
pub(super) fn on_c(home: &Path, name: &str) -> String {
    format!(r"C:\users\{}\{name}", home.file_name().unwrap_or_default().display())
}

/// As Windows names what is on this system's disk.
pub(super) fn on_z(path: &Path) -> String {
    format!("z:{}", path.display())
}

impl Stage<'_> {
    fn lighter(&self, words: &[&str]) -> Run {
        self.wine.run([on_z(&self.program)]).args(words).env("WHP_STANDIN_MMIO", "bytes").within(PATIENCE)
    }

    fn started(&self) -> Result<()> {
        // Brings the program, and what of Wine it needs, from the other side of the emulated machine's network file system.
        let version = self.lighter(&["--version"]).ok()?.text();
        println!("windows: desktop: {}", version.trim());
        let begun = Instant::now();
        let said = self.home.join("start.txt");
        let words = ["start", "--cpus", "1", "--memory", "1", "--disk", "4"].map(str::to_owned);
        let start = self.wine.run_into(&said, [on_z(&self.program)].into_iter().chain(words));
        let done = start.env("WHP_STANDIN_MMIO", "bytes").within(PATIENCE).finish()?;
        fs::read_to_string(&said)?.lines().for_each(|line| println!("windows: desktop: {line}"));
        ensure!(done.status.success(), "lighter.exe start ended with {}", done.status);
        println!("windows: desktop: started in {:.0} s", begun.elapsed().as_secs_f64());
        let status = self.lighter(&["status"]).ok()?.text();
        ensure!(status.contains("running") && status.contains("whp"), "lighter.exe status says {status}");
        let again = self.lighter(&["start"]).ok().context("a second start")?;
        ensure!(again.text().contains("running") || again.talk().contains("running"), "it says {}", again.talk());
        Ok(())
    }

    fn used(&self, archive: &Path) -> Result<()> {
        let folder = self.home.join("shared");
        fs::create_dir_all(&folder)?;
        let windows = on_c(&self.home, "shared");
        let mut failed = Vec::new();
        for (client, checks) in CLIENTS {
            let mut report = Report::new(client, Vec::new());
            let run = self.wine.run([on_z(&self.asked.clients.join(client).with_extension("exe"))]).args(checks);
            let run = run.env("DOCKER_HOST", DOCKER_HOST).env("DESKTOP_IMAGE", on_z(archive));
            report.program(run.env("DESKTOP_FOLDER", &windows).into_command(), PATIENCE)?;
            println!("windows: desktop: {client}: {} passed, {} failed", report.passed, report.failed.len());
            failed.extend(report.failed);
        }
        ensure!(failed.is_empty(), "under Wine: {}", failed.join(", "));
        Ok(())
    }

    fn stopped(&self) -> Result<()> {
        self.lighter(&["stop", "--quit"]).ok().context("lighter.exe stop --quit")?;
        let status = self.lighter(&["status"]).ok()?.text();
        ensure!(status.contains("stopped"), "after the stop, lighter.exe status says {status}");
        Ok(())
    }

    fn show_logs(&self) {
        for name in ["daemon.log", "console.log"] {
            let text = fs::read(self.home.join(".lighter/default").join(name)).unwrap_or_default();
            let text = String::from_utf8_lossy(&text);
            let lines: Vec<&str> = text.lines().collect();
            println!("windows: desktop: end of {name}");
            lines[lines.len().saturating_sub(60)..].iter().for_each(|line| println!("    {line}"));
        }
    }
}
