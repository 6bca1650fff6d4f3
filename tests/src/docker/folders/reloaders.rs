//! Servers that start anew by themselves when their source changes, as developers have them: node's own watcher and Python's
//! watchdog. Both wait for inotify in the container, and the edit is made on the host. Their images take a while, so they run if
//! they are named in full; `edits` and `clients` show the events as such in every run.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::builders::{NODE, NODE_PARTS};
use super::{Case, Folder, Session};
use crate::docker::served::image::Image;

pub const NODE_CASE: &str = "files_node_reloads_what_the_host_edits";
pub const PYTHON_CASE: &str = "files_python_reloads_what_the_host_edits";

pub(super) fn cases() -> Vec<Case> {
    vec![Case { name: NODE_CASE, run: node }, Case { name: PYTHON_CASE, run: python }]
}

const PYTHON: Image = Image { name: "python:test", packages: &[], files: &[("etc/group", "root:x:0:\n")], big: None };
const WATCHDOG: &str = "python3-watchdog";

/// Brings what these cases unpack to this host, for a rig that has no way out.
pub(super) fn fetch(cache: &Path) -> Result<()> {
    lighter_image::tools::whole(cache, WATCHDOG).map(drop).map_err(Into::into)
}

fn node(s: &Session) -> Result<()> {
    NODE.made_of(s, &lighter_image::tools::whole(&s.cache, "nodejs")?, NODE_PARTS)?;
    let folder = Folder::made(s, "node-reloads")?;
    let part = |value: &str| format!("module.exports = '{value}';\n");
    folder.write("part.js", part("first"))?;
    folder.write("server.js", "console.log('serves ' + require('./part.js')); setInterval(() => {}, 1000);\n")?;
    serve(s, &folder, NODE.name, &["node", "--watch", "/src/server.js"])?;
    reloads(s, &folder, "part.js", &part)
}

fn python(s: &Session) -> Result<()> {
    let whole = lighter_image::tools::whole(&s.cache, WATCHDOG)?;
    // A link to the one with its version in its name.
    let program = fs::read_link(whole.join("usr/bin/python3")).context("python3 is no link")?;
    let program = format!("usr/bin/{}", program.display());
    PYTHON.made_of(s, &whole, &["usr/bin/python3", &program, "usr/lib", "usr/lib64"])?;
    let folder = Folder::made(s, "python-reloads")?;
    let part = |value: &str| format!("VALUE = '{value}'\n");
    folder.write("part.py", part("first"))?;
    let server = "import part, signal\nprint('serves ' + part.VALUE, flush=True)\nsignal.pause()\n";
    folder.write("server.py", server)?;
    let watch =
        ["python3", "-B", "-m", "watchdog.watchmedo", "auto-restart", "--directory=/src", "--pattern=*.py", "--"];
    serve(s, &folder, PYTHON.name, &[&watch[..], &["python3", "-B", "/src/server.py"]].concat())?;
    reloads(s, &folder, "part.py", &part)
}

fn serve(s: &Session, folder: &Folder, image: &str, command: &[&str]) -> Result<()> {
    let bind = format!("{}:/src", folder.path.display());
    s.out(&[&["run", "-d", "--init", "--name", folder.name, "-v", &bind, image], command].concat()).map(drop)
}

/// An edit in place, then one as editors save: another file takes the name.
fn reloads(s: &Session, folder: &Folder, name: &str, part: &dyn Fn(&str) -> String) -> Result<()> {
    serves(s, folder, "first")?;
    folder.write(name, part("second"))?;
    serves(s, folder, "second")?;
    folder.write(".saved", part("third"))?;
    fs::rename(folder.path.join(".saved"), folder.path.join(name))?;
    serves(s, folder, "third")
}

/// Waits until the server has said so.
fn serves(s: &Session, folder: &Folder, value: &str) -> Result<()> {
    let (begun, wanted) = (Instant::now(), format!("serves {value}"));
    loop {
        let logs = s.docker(["logs", folder.name]).ok()?;
        if logs.text().lines().any(|line| line.trim() == wanted) {
            return Ok(());
        }
        let running = s.out(&["inspect", "-f", "{{.State.Running}}", folder.name])?;
        ensure!(running == "true", "the server ended: {} {}", logs.text(), logs.talk());
        if begun.elapsed() > s.seconds(120) {
            bail!("the server does not say `{wanted}`: {} {}", logs.text(), logs.talk());
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}
