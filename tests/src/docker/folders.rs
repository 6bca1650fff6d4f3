//! Folders of the host in containers, by the docker CLI: what a bind shows and takes, what is not shared, owners, files that two
//! have open, edits on the host, races against the walls of a share, and real programs. `HOME` of a session is its scratch
//! folder, which is shared with the right to write.

mod builders;
mod clients;
mod content;
mod edits;
mod mapped;
mod owners;
mod programs;
mod races;
mod reloaders;
mod shared;
mod together;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::{BUSYBOX, Case, Session, same};
use crate::clients::compose;
use crate::process::{Finished, Run};

/// Those that take minutes: they run if they are named in full.
pub const IN_FULL: [&str; 7] = [
    clients::BIG_BUILD,
    programs::POSTGRES_CASE,
    builders::GIT_CASE,
    builders::NPM_CASE,
    builders::CARGO_CASE,
    reloaders::NODE_CASE,
    reloaders::PYTHON_CASE,
];

/// The cases of this folder that leave the machine as it is.
pub fn cases() -> Vec<Case> {
    let mut cases = content::cases();
    cases.extend(owners::cases());
    cases.extend(together::cases());
    cases.extend(edits::cases());
    cases.extend(clients::cases());
    cases.extend(races::cases());
    cases.extend(programs::cases());
    cases.extend(builders::cases());
    cases.extend(reloaders::cases());
    cases.extend(shared::cases());
    cases
}

/// Those that start the machine anew.
pub fn restarting() -> Vec<Case> {
    [owners::restarting(), shared::restarting(), mapped::restarting()].into_iter().flatten().collect()
}

/// Brings what these cases unpack and install to this host, for a rig that has no way out.
pub fn fetch(cache: &Path) -> Result<()> {
    compose::plugin(cache)?;
    builders::fetch(cache)?;
    reloaders::fetch(cache)?;
    programs::fetch(cache)
}

/// When a container stops to look whether an edit on the host is seen. How soon it should be is for no test to say: who else uses
/// the machine decides.
const GIVEN_UP: Duration = Duration::from_secs(20);

/// A folder in the home folder, and containers that have it as `/src`.
struct Folder<'a> {
    s: &'a Session,
    name: &'static str,
    path: PathBuf,
}

impl<'a> Folder<'a> {
    /// An empty folder, and one container with it: `NAME`.
    fn bound(s: &'a Session, name: &'static str) -> Result<Self> {
        let folder = Self::made(s, name)?;
        folder.container(name, &[])?;
        Ok(folder)
    }

    fn made(s: &'a Session, name: &'static str) -> Result<Self> {
        let path = s.dir.join("files").join(name);
        drop(fs::remove_dir_all(&path));
        fs::create_dir_all(&path)?;
        Ok(Self { s, name, path })
    }

    fn container(&self, name: &str, options: &[&str]) -> Result<()> {
        let bind = format!("{}:/src", self.path.display());
        let words = [&["run", "-d", "--name", name, "-v", &bind], options, &[BUSYBOX, "sleep", "3600"]].concat();
        self.s.out(&words).map(drop)
    }

    /// What a script says in the container.
    fn sh(&self, script: &str) -> Result<String> {
        exec(self.s, self.name, script)
    }

    /// The same whatever its code.
    fn tries(&self, script: &str) -> Result<Finished> {
        self.s.docker(["exec", self.name, "sh", "-c", script]).finish()
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) -> Result<()> {
        fs::write(self.path.join(name), content).with_context(|| format!("write {name}"))
    }

    fn read(&self, name: &str) -> Result<String> {
        fs::read_to_string(self.path.join(name)).with_context(|| format!("read {name}"))
    }
}

/// What a script says in a container.
fn exec(s: &Session, container: &str, script: &str) -> Result<String> {
    Ok(s.docker(["exec", container, "sh", "-c", script]).within(s.seconds(240)).ok()?.text())
}

/// Names and content of a tree as one text, the same on both sides. What ends with `skip` is left out.
fn tree(at: &str) -> String {
    format!(
        "cd {at} && busybox find . | busybox sort | busybox sha256sum && busybox find . -type f -print0 | busybox sort -z \
         | busybox xargs -0 busybox sha256sum | busybox sha256sum"
    )
}

/// The same script on the host.
fn here(s: &Session, script: &str) -> Result<String> {
    let path = format!("{}:/usr/bin:/bin", s.busybox.parent().unwrap_or(Path::new("/bin")).display());
    Ok(Run::new("sh").env("PATH", path).args(["-c", script]).ok()?.text())
}

fn same_tree(folder: &Folder) -> Result<()> {
    let host = here(folder.s, &tree(&folder.path.display().to_string()))?;
    same("names and hashes in the container and on the host", folder.sh(&tree("/src"))?, host)
}

/// Fails unless `docker` refuses with these words.
fn refused(s: &Session, words: &[&str], why: &[&str]) -> Result<()> {
    let done = s.docker(words).finish()?;
    let said = done.talk();
    ensure!(!done.status.success(), "`docker {}` was not refused: {}", words.join(" "), done.text());
    let missing: Vec<_> = why.iter().filter(|word| !said.contains(**word)).collect();
    ensure!(missing.is_empty(), "`docker {}` does not speak of {missing:?}: {said}", words.join(" "));
    Ok(())
}

/// A loop in the container that waits until `test` holds, and says after how many seconds.
fn seen_within(folder: &Folder, what: &str, test: &str) -> Result<()> {
    // The guest's clock, so that the way of the command does not count; its hundredths are enough.
    let now = "$(cut -d' ' -f1 /proc/uptime | tr -d .)";
    let script = format!(
        "at={now}; while ! ( {test} ) > /dev/null 2>&1; do [ $(({now} - at)) -lt 2000 ] || break; done; echo $(({now} - at))"
    );
    let begun = Instant::now();
    let waited = Duration::from_millis(10 * folder.sh(&script)?.parse::<u64>().context("no number")?);
    ensure!(waited < GIVEN_UP, "{what} is not seen ({:?} with the command)", begun.elapsed());
    Ok(())
}
