//! Edits in a shared folder behind the back of the kernel that has it mounted: once a change has been told there, nothing of what
//! was known before is believed any more. Who tells writes a line `told WHAT` for each change (`vmm/examples/fuse_rig`).

use std::fs::{self, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::case::Wrong;

/// For a change to be told, however slow the machine is.
const DEADLINE: Duration = Duration::from_secs(60);
/// Longer than what is not watched is believed.
const BRIEF: Duration = Duration::from_millis(1200);

struct Edits {
    host: PathBuf,
    mount: PathBuf,
    lines: PathBuf,
    /// Bytes of `lines` that count no more.
    read: usize,
    held: usize,
}

/// Tries all edits of a new folder `edits` in `host`, which is seen in `mount`; true when all were seen.
pub fn run(host: &str, mount: &str, lines: &str) -> Result<bool, Wrong> {
    let [host, mount] = [host, mount].map(|place| Path::new(place).join("edits"));
    fs::create_dir_all(host.join("sub"))?;
    for name in ["same", "longer", "replaced", "removed", "renamed", "mode"] {
        fs::write(host.join(name), "before")?;
    }
    let mut edits = Edits { host, mount, lines: lines.into(), read: 0, held: 0 };
    // The first look has all of it watched, the second one is believed.
    edits.look()?;
    std::thread::sleep(BRIEF);
    edits.look()?;
    edits.all()?;
    Ok(edits.held == 10)
}

impl Edits {
    /// Has the kernel know everything, also what is not there.
    fn look(&self) -> Result<(), Wrong> {
        for entry in fs::read_dir(&self.mount)? {
            let path = entry?.path();
            if fs::metadata(&path)?.is_file() {
                fs::read(&path)?;
            }
        }
        for name in ["new", "other", "sub/new"] {
            if self.mount.join(name).exists() {
                return Err(Wrong::new(format!("{name} is there already")));
            }
        }
        self.names("sub").map(drop)
    }

    fn all(&mut self) -> Result<(), Wrong> {
        self.edit(
            "content of the same length",
            "Content { at",
            "same",
            |at| over(at, "same", "behind"),
            |at| is(at.read("same")?, "behind"),
        )?;
        self.edit(
            "more content",
            "Content { at",
            "longer",
            |at| over(at, "longer", "and after"),
            |at| is(at.read("longer")?, "and after"),
        )?;
        self.edit(
            "a new file",
            "Made { at",
            "new",
            |at| fs::write(at.join("new"), ""),
            |at| Ok(at.mount.join("new").is_file() && at.names("")?.contains(&"new".into())),
        )?;
        self.edit(
            "a new file in a folder",
            "Made { at",
            "new",
            |at| fs::write(at.join("sub/new"), ""),
            |at| Ok(at.mount.join("sub/new").is_file() && at.names("sub")? == ["new"]),
        )?;
        self.edit(
            "a removal",
            "Removed { at",
            "removed",
            |at| fs::remove_file(at.join("removed")),
            |at| Ok(!at.mount.join("removed").exists() && !at.names("")?.contains(&"removed".into())),
        )?;
        self.edit(
            "a renaming",
            "Renamed { from",
            "other",
            |at| fs::rename(at.join("renamed"), at.join("other")),
            |at| Ok(is(at.read("other")?, "before")? && !at.mount.join("renamed").exists()),
        )?;
        let replace = |at: &Path| {
            fs::write(at.join("saved~"), "another")?;
            fs::rename(at.join("saved~"), at.join("replaced"))
        };
        self.edit("a file that was replaced", "Renamed { from", "replaced", replace, |at| {
            Ok(is(at.read("replaced")?, "another")? && !at.names("")?.contains(&"saved~".into()))
        })?;
        let closed =
            |name: &'static str| move |at: &Path| fs::set_permissions(at.join(name), Permissions::from_mode(0o700));
        self.edit("a mode", "Attributes { at", "mode", closed("mode"), |at| at.is_closed("mode"))?;
        self.edit("a folder's mode", "Attributes { at", "sub", closed("sub"), |at| at.is_closed("sub"))?;
        let moved = |at: &Path| fs::rename(at.join("sub"), at.join("moved"));
        self.edit("a folder's renaming", "Renamed { from", "moved", moved, |at| {
            Ok(at.names("moved")? == ["new"] && !at.mount.join("sub").exists())
        })
    }

    /// Does it on the host, waits until it has been told, and looks.
    fn edit(
        &mut self,
        name: &str,
        told: &str,
        last: &str,
        act: impl FnOnce(&Path) -> std::io::Result<()>,
        seen: impl FnOnce(&Self) -> Result<bool, Wrong>,
    ) -> Result<(), Wrong> {
        act(&self.host)?;
        self.wait(told, &format!("name: \"{last}\" }}"))?;
        match seen(self) {
            Ok(true) => {
                self.held += 1;
                println!("ok {name}");
            }
            Ok(false) => println!("FAILED {name}: it is told and not seen"),
            Err(Wrong(error)) => println!("FAILED {name}: {error}"),
        }
        Ok(())
    }

    fn wait(&mut self, told: &str, entry: &str) -> Result<(), Wrong> {
        let until = Instant::now() + DEADLINE;
        loop {
            let lines = fs::read_to_string(&self.lines)?;
            let mut end = self.read;
            for line in lines[self.read..].split_inclusive('\n').filter(|line| line.ends_with('\n')) {
                end += line.len();
                if line.starts_with(&format!("told {told}")) && line.contains(entry) {
                    self.read = end;
                    return Ok(());
                }
            }
            if Instant::now() > until {
                return Err(Wrong::new(format!("nobody told of {told} {entry}: {lines}")));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    fn read(&self, name: &str) -> Result<String, Wrong> {
        Ok(fs::read_to_string(self.mount.join(name))?)
    }

    fn names(&self, folder: &str) -> Result<Vec<String>, Wrong> {
        let names = fs::read_dir(self.mount.join(folder))?;
        names.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
    }

    fn is_closed(&self, name: &str) -> Result<bool, Wrong> {
        Ok(fs::metadata(self.mount.join(name))?.permissions().mode() & 0o777 == 0o700)
    }
}

/// In one piece, so that it is one change.
fn over(folder: &Path, name: &str, content: &str) -> std::io::Result<()> {
    fs::OpenOptions::new().write(true).open(folder.join(name))?.write_all(content.as_bytes())
}

fn is(seen: String, wanted: &str) -> Result<bool, Wrong> {
    if seen == wanted { Ok(true) } else { Err(Wrong::new(format!("{seen:?} is read"))) }
}
