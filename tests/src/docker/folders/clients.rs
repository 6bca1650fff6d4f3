//! The docker CLI's other ways to folders of the host: `cp` into and out of a bind, builds, compose files with relative paths, and
//! volumes that are binds.

use std::fs;

use anyhow::{Result, ensure};

use super::{BUSYBOX, Case, Folder, Session, refused, same};
use crate::clients::compose;
use crate::process::hex;
use crate::rig::servers::{content, content_hash};

/// Runs by its whole name only: it takes minutes, and the guest sees nothing of it but its end.
pub const BIG_BUILD: &str = "files_build_with_a_context_of_50000_files";

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case { name: "files_cp_into_and_out_of_a_bind", run: cp },
        Case { name: "files_a_volume_that_is_a_bind", run: volume },
        Case { name: "files_compose_with_relative_paths", run: relative },
        Case { name: BIG_BUILD, run: big_build },
    ]
}

fn cp(s: &Session) -> Result<()> {
    let folder = Folder::bound(s, "copied")?;
    let (source, back) = (s.dir.join("cp-in"), s.dir.join("cp-out"));
    fs::write(&source, content(3_000_000))?;
    s.docker(["cp"]).args([&source]).args(["copied:/src/put"]).ok()?;
    let hash = |path: &std::path::Path| -> Result<String> {
        Ok(hex(&<sha2::Sha256 as sha2::Digest>::digest(fs::read(path)?)))
    };
    same("put", hash(&folder.path.join("put"))?, content_hash(3_000_000))?;
    fs::create_dir(folder.path.join("tree"))?;
    folder.write("tree/a file", "a\n")?;
    s.docker(["cp", "copied:/src/."]).args([&back]).ok()?;
    same("got", hash(&back.join("put"))?, content_hash(3_000_000))?;
    same("got from a folder", fs::read_to_string(back.join("tree/a file"))?, "a\n".to_owned())?;
    // Of one that does not run.
    s.out(&["stop", "-t", "0", "copied"])?;
    let tar = s.docker(["cp", "copied:/src/put", "-"]).ok()?;
    ensure!(tar.stdout_bytes > 3_000_000, "{} bytes of a stopped container's", tar.stdout_bytes);
    Ok(())
}

fn volume(s: &Session) -> Result<()> {
    let folder = Folder::made(s, "volume")?;
    folder.write("file", "of the host\n")?;
    let device = format!("device={}", folder.path.display());
    s.out(&["volume", "create", "--opt", "type=none", "--opt", "o=bind", "--opt", &device, "bound"])?;
    let tried = (|| {
        let script = "cat /x/file && echo back > /x/made";
        let said = s.out(&["run", "--rm", "-v", "bound:/x", BUSYBOX, "sh", "-c", script])?;
        same("in the volume", said, "of the host".to_owned())?;
        same("on the host", folder.read("made")?, "back\n".to_owned())
    })();
    s.out(&["volume", "rm", "bound"])?;
    tried?;
    let words = ["volume", "create", "--opt", "type=none", "--opt", "o=bind", "--opt", "device=/etc", "walls"];
    refused(s, &words, &["/etc", "`mounts` in config.toml"])
}

const COMPOSE: &str = "
name: relative
services:
  one:
    image: bb:latest
    command: sh -c 'cat /in/file && echo made > /out/made && cat /above/file'
    volumes: ['./src:/in:ro', './src/out:/out', '..:/above:ro']
";

fn relative(s: &Session) -> Result<()> {
    let folder = Folder::made(s, "compose")?;
    fs::create_dir_all(folder.path.join("project/src"))?;
    folder.write("project/compose.yaml", COMPOSE)?;
    folder.write("project/src/file", "below\n")?;
    folder.write("file", "above\n")?;
    if !s.docker(["compose", "version"]).finish()?.status.success() {
        compose::plug_in(s)?;
    }
    let words = ["compose", "--ansi", "never", "--progress", "plain", "run", "--rm", "-T", "one"];
    let said = s.docker(words).dir(folder.path.join("project")).within(s.seconds(240)).ok();
    let down = s.docker(["compose", "down"]).dir(folder.path.join("project")).ok();
    same("the service's output", said?.text(), "below\nabove".to_owned())?;
    down?;
    same("on the host", folder.read("project/src/out/made")?, "made\n".to_owned())
}

fn big_build(s: &Session) -> Result<()> {
    const FILES: usize = 50_000;
    let folder = Folder::made(s, "context")?;
    let dockerfile =
        format!("FROM {BUSYBOX}\nCOPY . /all\nRUN find /all -name 'f*' | wc -l > /count\nCMD [\"cat\", \"/count\"]\n");
    folder.write("Dockerfile", dockerfile)?;
    for number in 0..FILES {
        let within = folder.path.join(format!("d{}", number / 500));
        if number % 500 == 0 {
            fs::create_dir(&within)?;
        }
        fs::write(within.join(format!("f{number}")), number.to_string())?;
    }
    let build = s.docker(["build", "-t", "context:1"]).args([&folder.path]);
    build.env("DOCKER_BUILDKIT", "0").within(s.seconds(1800)).ok()?;
    same("files in the image", s.out(&["run", "--rm", "context:1"])?, FILES.to_string())?;
    s.out(&["rmi", "context:1"]).map(drop)
}
