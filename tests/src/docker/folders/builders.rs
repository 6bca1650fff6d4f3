//! What people do all day in a folder that they share: a repository of ten thousand files is cloned and cleaned up, packages are
//! installed by npm, a crate is built by cargo; in a container, and compared with what the same program makes on the host. They
//! take minutes under an emulated processor, so each runs if it is named in full.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use super::programs::{PROGRAMS, container_git, host_git};
use super::{Case, Folder, Session, here, same, tree};
use crate::docker::served::image::Image;
use crate::packages::{self, Package};
use crate::process::Run;
use crate::products;

pub const GIT_CASE: &str = "files_git_keeps_a_repository_of_10000_files";
pub const NPM_CASE: &str = "files_npm_installs_into_a_bind";
pub const CARGO_CASE: &str = "files_cargo_builds_in_a_bind";

pub(super) fn cases() -> Vec<Case> {
    vec![Case { name: GIT_CASE, run: git }, Case { name: NPM_CASE, run: npm }, Case { name: CARGO_CASE, run: cargo }]
}

/// A script in the container that may take long.
fn long(s: &Session, container: &str, script: &str) -> Result<String> {
    Ok(s.docker(["exec", container, "sh", "-c", script]).within(s.seconds(1800)).ok()?.text())
}

fn git(s: &Session) -> Result<()> {
    const FILES: usize = 10_000;
    PROGRAMS.made(s)?;
    let folder = Folder::made(s, "repository")?;
    let origin = folder.path.join("origin");
    for number in 0..FILES {
        let within = origin.join(format!("d{}/e{}", number % 40, number % 8));
        fs::create_dir_all(&within)?;
        fs::write(within.join(format!("file-{number}")), format!("{number}\n").repeat(1 + number % 90))?;
    }
    for words in [&["init", "-q", "-b", "main"][..], &["add", "."], &["commit", "-q", "-m", "first"]] {
        host_git(s, &origin, words)?;
    }
    container_git(s, &folder, "repository")?;
    let script = "cd /src && git clone -q origin clone && cd clone && git status --porcelain && \
        for d in d1 d2 d3; do echo more >> $d/e$((${d#d} % 8))/extra; done && git add . && git commit -q -m second && \
        git gc -q --prune=now && git fsck --full --strict 2> /dev/null && git status --porcelain && git count-objects -v | grep -E '^(count|in-pack|packs):'";
    let said = long(s, "repository", script)?;
    ensure!(said.starts_with("count: 0\nin-pack: ") && said.ends_with("\npacks: 1"), "after git gc: {said}");
    let clone = folder.path.join("clone");
    same("git status on the host", host_git(s, &clone, &["status", "--porcelain"])?, String::new())?;
    host_git(s, &clone, &["fsck", "--full", "--strict"])?;
    same("files", host_git(s, &clone, &["ls-files"])?.lines().count(), FILES + 3)?;
    // The host cleans up while the container looks; neither may find the other's work half done.
    let (looked, cleaned) = std::thread::scope(|scope| {
        let cleaner = scope.spawn(|| host_git(s, &clone, &["repack", "-q", "-a", "-d", "-f"]));
        let look = "cd /src/clone && for i in 1 2 3; do git log --format=%s && git diff --stat HEAD~1 | tail -1; done";
        (long(s, "repository", look), cleaner.join())
    });
    cleaned.map_err(|_| anyhow::anyhow!("git panicked"))??;
    let turn = "second\nfirst\n 3 files changed, 3 insertions(+)";
    same("what the container saw meanwhile", looked?, [turn; 3].join("\n"))
}

pub(super) const NODE: Image =
    Image { name: "node:test", packages: &[], files: &[("etc/group", "root:x:0:\n")], big: None };

pub(super) const NODE_PARTS: &[&str] = &["usr/bin/node", "usr/lib", "usr/lib64", "usr/share/nodejs"];

/// Brings what these cases unpack and install to this host, for a rig that has no way out.
pub(super) fn fetch(cache: &Path) -> Result<()> {
    packages::ensure(NPM)?;
    lighter_image::tools::whole(cache, "nodejs").map(drop).map_err(Into::into)
}

const NPM: &[Package] = &[Package { name: "nodejs", probe: "node" }, Package { name: "npm", probe: "npm" }];

/// The folder that has npm and what it is made of, Debian's or another one.
fn modules() -> Result<PathBuf> {
    let link = Run::new("sh").args(["-c", "command -v npm"]).ok()?.text();
    let program = fs::canonicalize(&link).with_context(|| format!("where {link} leads"))?;
    // MODULES/npm/bin/npm-cli.js
    let modules = program.ancestors().nth(3).filter(|modules| modules.join("npm/bin/npm-cli.js").is_file());
    Ok(modules.with_context(|| format!("{} is not npm's own program", program.display()))?.to_owned())
}

fn npm(s: &Session) -> Result<()> {
    packages::ensure(NPM)?;
    NODE.made_of(s, &lighter_image::tools::whole(&s.cache, "nodejs")?, NODE_PARTS)?;
    let folder = Folder::made(s, "npm")?;
    let source = products::root().join("tests/clients/node");
    for side in ["host", "guest"] {
        fs::create_dir_all(folder.path.join(side))?;
        for name in ["package.json", "package-lock.json"] {
            fs::copy(source.join(name), folder.path.join(side).join(name))?;
        }
    }
    let install = ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent", "--cache"];
    // It fills the cache from which the container, which has no network, installs the same.
    let run = Run::new("npm").args(install).args([folder.path.join("cache")]).dir(folder.path.join("host"));
    run.within(s.seconds(600)).ok()?;
    Run::new("cp").args(["-aL"]).args([modules()?, folder.path.join("modules")]).ok()?;
    let bind = format!("{}:/src", folder.path.display());
    s.out(&["run", "-d", "--name", "npm", "-v", &bind, NODE.name, "sleep", "3600"])?;
    let install = install.join(" ");
    let script = format!(
        "export NODE_PATH=/src/modules; cd /src/guest && \
         node /src/modules/npm/bin/npm-cli.js {install} /src/cache --offline && node -e \"require('dockerode'); console.log('loads')\""
    );
    same("npm", long(s, "npm", &script)?, "loads".to_owned())?;
    let of = |side: &str| here(s, &tree(&folder.path.join(side).join("node_modules").display().to_string()));
    same("what npm installed in the container and on the host", of("guest")?, of("host")?)?;
    same("what the container sees of it", long(s, "npm", &tree("/src/guest/node_modules"))?, of("host")?)
}

/// The toolchain's parts that a library needs to be built: nothing links.
const TOOLCHAIN: &[&str] = &["bin/rustc", "bin/cargo", "lib"];

fn cargo(s: &Session) -> Result<()> {
    PROGRAMS.made(s)?;
    let folder = Folder::made(s, "cargo")?;
    let sysroot = PathBuf::from(Run::new("rustc").args(["--print", "sysroot"]).dir(products::root()).ok()?.text());
    for part in TOOLCHAIN {
        let target = folder.path.join("rust").join(part);
        fs::create_dir_all(target.parent().context("it is below the folder")?)?;
        Run::new("cp").args(["-a"]).args([sysroot.join(part), target]).within(s.seconds(300)).ok()?;
    }
    let source = folder.path.join("project/src");
    fs::create_dir_all(&source)?;
    folder.write("project/Cargo.toml", "[package]\nname = \"project\"\nversion = \"0.1.0\"\nedition = \"2021\"\n")?;
    let modules: String = (0..40).map(|number| format!("pub mod m{number};\n")).collect();
    fs::write(source.join("lib.rs"), modules)?;
    let module = |text: &str| format!("pub fn text() -> &'static str {{ \"{text}\" }}\n");
    (0..40).try_for_each(|number| fs::write(source.join(format!("m{number}.rs")), module("first")))?;
    let bind = format!("{}:/src", folder.path.display());
    s.out(&["run", "-d", "--name", "cargo", "-v", &bind, PROGRAMS.name, "sleep", "3600"])?;
    let build = "cd /src/project && export HOME=/src CARGO_HOME=/src/home PATH=/src/rust/bin:/bin && \
        cargo build --lib --offline --color never 2>&1 | sed 's/ in .*//'; ls target/debug/*.rlib";
    let library = "target/debug/libproject.rlib";
    // As it says it, without the blanks at the very beginning.
    let built = format!("Finished `dev` profile [unoptimized + debuginfo] target(s)\n{library}");
    let compiled = format!("Compiling project v0.1.0 (/src/project)\n    {built}");
    same("cargo build", long(s, "cargo", build)?, compiled.clone())?;
    same("the same again", long(s, "cargo", build)?, built)?;
    let has = |text: &str| -> Result<bool> {
        let library = fs::read(folder.path.join("project").join(library))?;
        Ok(library.windows(text.len()).any(|window| window == text.as_bytes()))
    };
    ensure!(has("first")? && !has("changed-on-the-host")?, "the host does not see what was built");
    // An edit on the host is one more reason to build.
    fs::write(source.join("m7.rs"), module("changed-on-the-host"))?;
    same("cargo build after an edit on the host", long(s, "cargo", build)?, compiled)?;
    ensure!(has("changed-on-the-host")?, "what was edited on the host was not built");
    Ok(())
}
