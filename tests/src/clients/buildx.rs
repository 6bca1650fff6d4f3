//! `docker buildx` as its own plugin: mounts (cache, secret, ssh), stages, outputs, contexts from folders and from standard
//! input, failure, interruption, and the builder's cache. A `# syntax=` line would need a registry, so there is none.

use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};

use super::report::Report;
use super::{Stage, install};
use crate::docker::terminal::Terminal;
use crate::docker::{Session, same};
use crate::packages::{self, Package};
use crate::process::{Finished, Run};
use crate::products::{self, GUEST_TARGET};
use crate::rig::tools::Tools;

/// No other process of the guest sleeps so long.
const ODD_SLEEP: &str = "86399";

pub(super) fn install(_: &Tools) -> Result<()> {
    packages::ensure(&[Package { name: "openssh-client", probe: "ssh-agent" }])?;
    products::ensure_target(GUEST_TARGET)
}

pub(super) fn run(stage: &Stage, report: &mut Report) -> Result<()> {
    let s = stage.session;
    report.check("cache_mount_lasts_between_builds", || cache_mount(stage));
    report.check("secrets_from_file_and_environment", || secrets(stage));
    report.check("ssh_agent_is_forwarded", || ssh(stage));
    report.check("stages_targets_and_a_named_context", || stages(stage));
    report.check("output_as_tar_and_as_folder_are_the_same", || outputs(stage));
    report.check("context_from_standard_input", || from_stdin(stage));
    report.check("dockerignore_keeps_files_out", || ignored(stage));
    report.check("bake_builds_two_images", || bake(stage));
    report.check("failing_build_says_why", || failing(stage));
    report.check("ctrl_c_leaves_nothing_stuck", || interrupted(stage));
    report.check("imagetools_says_that_no_registry_is_there", || imagetools(s));
    report.check("du_and_prune", || prune(s));
    Ok(())
}

/// A folder with a Dockerfile.
fn context(stage: &Stage, name: &str, dockerfile: &str) -> Result<PathBuf> {
    let dir = stage.folder(&format!("buildx-{name}"))?;
    fs::write(dir.join("Dockerfile"), dockerfile)?;
    Ok(dir)
}

/// `docker buildx build` with plain progress.
fn build(s: &Session, args: &[&str]) -> Run {
    s.docker(["buildx", "build", "--progress", "plain"].iter().chain(args)).within(s.seconds(120))
}

/// Runs to success; the builder's last words are the reason otherwise.
fn built(run: Run) -> Result<Finished> {
    run.ok()
}

/// `--output` into this folder.
fn into(dir: &Path) -> String {
    format!("--output=type=local,dest={}", dir.display())
}

fn cache_mount(stage: &Stage) -> Result<()> {
    let file = "FROM bb:latest AS work\nARG TURN\n\
        RUN --mount=type=cache,id=visits,target=/cache echo turn $TURN >> /cache/visits && cp /cache/visits /visits\n\
        FROM scratch\nCOPY --from=work /visits /\n";
    let dir = context(stage, "cache", file)?;
    let out = dir.join("out");
    for turn in ["TURN=1", "TURN=2"] {
        built(build(stage.session, &["--build-arg", turn, &into(&out)]).args([&dir]))?;
    }
    same("what the mount keeps", fs::read_to_string(out.join("visits"))?, "turn 1\nturn 2\n".to_owned())
}

fn secrets(stage: &Stage) -> Result<()> {
    let file = "FROM bb:latest AS work\n\
        RUN --mount=type=secret,id=file --mount=type=secret,id=word \
        cat /run/secrets/file /run/secrets/word | sha256sum > /sum; ls /run/secrets > /left 2>&1 || true\n\
        RUN ls /run/secrets/file >> /left 2>&1 || echo gone >> /left\n\
        FROM scratch\nCOPY --from=work /sum /left /\n";
    let dir = context(stage, "secret", file)?;
    let (out, secret) = (dir.join("out"), stage.folder("secrets")?.join("file"));
    fs::write(&secret, vec![b's'; 100_000])?;
    let source = format!("id=file,src={}", secret.display());
    let run = build(stage.session, &["--secret", &source, "--secret", "id=word,env=WORD", &into(&out)]);
    built(run.env("WORD", "whispered").args([&dir]))?;
    let both = [vec![b's'; 100_000], b"whispered".to_vec()].concat();
    let sum = Run::new("sha256sum").stdin(Cursor::new(both)).ok()?.text();
    same("hash of both secrets", fs::read_to_string(out.join("sum"))?.trim().to_owned(), sum)?;
    let left = fs::read_to_string(out.join("left"))?;
    same("the next step finds no secret", left.lines().last(), Some("gone"))
}

fn ssh(stage: &Stage) -> Result<()> {
    let file = "FROM bb:latest AS work\nCOPY ask_agent /bin/ask_agent\n\
        RUN --mount=type=ssh ask_agent > /keys\nFROM scratch\nCOPY --from=work /keys /\n";
    let dir = context(stage, "ssh", file)?;
    let (out, keys) = (dir.join("out"), stage.folder("keys")?);
    let compile = Run::new("rustc").args(["--edition=2024", "-O", "-C", "link-self-contained=yes", "--target"]);
    let compile = compile.args([GUEST_TARGET, "-o"]).args([dir.join("ask_agent")]);
    compile.args([install::sources().join("ask_agent.rs")]).dir(products::root()).ok()?;
    // The agent lives as long as the shell that it starts.
    let script = "set -e; ssh-keygen -q -t ed25519 -N '' -C berth-key -f \"$1/key\"; ssh-add -q \"$1/key\"; \
        \"$2/ask_agent\" > \"$1/here\"; \"$3\" buildx build --progress plain --ssh default \"$4\" \"$2\"";
    let run = Run::new("ssh-agent").args(["sh", "-c", script, "sh"]).args([&keys, &dir, &stage.session.docker]);
    built(stage.session.dress(run).args([into(&out)]).within(stage.session.seconds(120)))?;
    let here = fs::read_to_string(keys.join("here"))?;
    ensure!(here.starts_with("berth-key ") && here.len() > 80, "the agent on the host says {here:?}");
    same("the agent in the build", fs::read_to_string(out.join("keys"))?, here)
}

fn stages(stage: &Stage) -> Result<()> {
    let file = "FROM bb:latest AS base\nRUN echo base > /base\nFROM base AS wanted\nCOPY --from=extra /note /note\n\
        FROM base AS unwanted\nRUN echo 'a stage that nobody asked for'; exit 1\n";
    let dir = context(stage, "stages", file)?;
    let extra = stage.folder("extra")?;
    fs::write(extra.join("note"), "from another context\n")?;
    let named = format!("extra={}", extra.display());
    let words = ["--target", "wanted", "--build-context", &named, "--load", "-t", "wanted:1", "--label", "port=home"];
    built(build(stage.session, &words).args([&dir]))?;
    let seen = stage.session.out(&["run", "--rm", "wanted:1", "cat", "/base", "/note"])?;
    same("the image", seen, "base\nfrom another context".to_owned())?;
    let label = stage.session.out(&["image", "inspect", "-f", "{{.Config.Labels.port}}", "wanted:1"])?;
    same("its label", label, "home".to_owned())?;
    stage.session.out(&["rmi", "wanted:1"]).map(drop)
}

fn outputs(stage: &Stage) -> Result<()> {
    let file = "FROM bb:latest AS work\n\
        RUN mkdir -p /made/deep && head -c 5000000 /dev/urandom > /made/deep/noise && ln -s deep/noise /made/link\n\
        FROM scratch\nCOPY --from=work /made /made\n";
    let dir = context(stage, "outputs", file)?;
    let (out, unpacked) = (dir.join("out"), stage.folder("unpacked")?);
    built(build(stage.session, &[&into(&out)]).args([&dir]))?;
    let tar = stage.folder("tars")?.join("out.tar");
    let done = built(build(stage.session, &["--output=type=tar,dest=-"]).args([&dir]))?;
    fs::write(&tar, &done.stdout)?;
    same("all of the tar was kept", done.stdout.len() as u64, done.stdout_bytes)?;
    Run::new("tar").args(["-xf"]).args([&tar]).args(["-C"]).args([&unpacked]).ok()?;
    Run::new("diff").args(["-r", "--no-dereference"]).args([&out, &unpacked]).ok()?;
    same("bytes of the file", fs::metadata(unpacked.join("made/link"))?.len(), 5_000_000)
}

fn from_stdin(stage: &Stage) -> Result<()> {
    let dir = context(stage, "stdin", "FROM scratch\nCOPY word /word\n")?;
    fs::write(dir.join("word"), "in a tar\n")?;
    let tar = Run::new("tar").args(["-C"]).args([&dir]).args(["-cz", "Dockerfile", "word"]).ok()?.stdout;
    let out = stage.folder("from-stdin")?;
    built(build(stage.session, &[&into(&out), "-"]).stdin(Cursor::new(tar)))?;
    same("a context from a tar", fs::read_to_string(out.join("word"))?, "in a tar\n".to_owned())?;
    let file = "FROM scratch\nCOPY word /other\n";
    built(build(stage.session, &[&into(&out), "-f", "-"]).args([&dir]).stdin(Cursor::new(file)))?;
    ensure!(out.join("other").is_file(), "the Dockerfile from standard input was not used");
    Ok(())
}

fn ignored(stage: &Stage) -> Result<()> {
    let dir = context(stage, "ignore", "FROM scratch\nCOPY . /\n")?;
    fs::create_dir_all(dir.join("logs"))?;
    for name in ["kept", "secret.key", "logs/one", "logs/wanted"] {
        fs::write(dir.join(name), name)?;
    }
    fs::write(dir.join(".dockerignore"), "*.key\nlogs/*\n!logs/wanted\nDockerfile\n.dockerignore\n")?;
    let out = stage.folder("not-ignored")?;
    built(build(stage.session, &[&into(&out)]).args([&dir]))?;
    let found = Run::new("find").args([&out]).args(["-type", "f", "-printf", "%P\\n"]).ok()?.text();
    let mut found: Vec<&str> = found.lines().collect();
    found.sort_unstable();
    same("files", found, vec!["kept", "logs/wanted"])
}

fn bake(stage: &Stage) -> Result<()> {
    let dir = context(stage, "bake", "FROM bb:latest\nARG SIDE\nRUN echo $SIDE > /side\n")?;
    let target = |side: &str| serde_json::json!({ "args": { "SIDE": side }, "tags": [format!("side:{side}")] });
    let file = serde_json::json!({
        "group": { "default": { "targets": ["left", "right"] } },
        "target": { "left": target("left"), "right": target("right") },
    });
    fs::write(dir.join("docker-bake.json"), serde_json::to_vec(&file)?)?;
    let run = stage.session.docker(["buildx", "bake", "--progress", "plain", "--load"]).dir(&dir);
    built(run.within(stage.session.seconds(120)))?;
    for side in ["left", "right"] {
        let tag = format!("side:{side}");
        same("the image", stage.session.out(&["run", "--rm", &tag, "cat", "/side"])?, side.to_owned())?;
        stage.session.out(&["rmi", &tag])?;
    }
    Ok(())
}

fn failing(stage: &Stage) -> Result<()> {
    let dir = context(stage, "failing", "FROM bb:latest\nRUN echo last words; exit 23\n")?;
    let done = build(stage.session, &[]).args([&dir]).finish()?;
    same("exit code", done.status.code(), Some(1))?;
    let said = done.talk();
    ensure!(said.contains("last words") && said.contains("exit code: 23"), "the build said {said}");
    Ok(())
}

fn interrupted(stage: &Stage) -> Result<()> {
    let dir = context(
        stage,
        "interrupted",
        &format!("FROM bb:latest\nRUN echo under way $((40 + 2)); exec sleep {ODD_SLEEP}\n"),
    )?;
    let dir = dir.to_string_lossy();
    let mut terminal = Terminal::docker(stage.session, &["buildx", "build", "--progress", "plain", &dir])?;
    terminal.expect("under way 42")?;
    terminal.type_in("\x03")?;
    same("exit code", terminal.exit_code()?, Some(1))?;
    // Nobody announces the end of the step's process: the guest's shell waits for it.
    let gone =
        format!("while grep -ls '[{}]{}' /proc/[0-9]*/cmdline; do sleep 0.1; done", &ODD_SLEEP[..1], &ODD_SLEEP[1..]);
    stage.session.lighter(["shell", "sh", "-c", &gone]).ok()?;
    built(build(stage.session, &["--no-cache", "--output=type=cacheonly", "--build-arg", "X=1"]).args([context(
        stage,
        "after",
        "FROM bb:latest\nRUN true\n",
    )?]))?;
    let records = stage.session.out(&["buildx", "du", "--verbose"])?;
    ensure!(!records.contains("Mutable:\ttrue\nReclaimable:\tfalse"), "something is still in use: {records}");
    Ok(())
}

fn imagetools(s: &Session) -> Result<()> {
    // Nothing listens on port 1, and the plugin asks a registry by itself.
    let done = s.docker(["buildx", "imagetools", "inspect", "127.0.0.1:1/nothing:1"]).finish()?;
    same("exit code", done.status.code(), Some(1))?;
    ensure!(done.talk().contains("connection refused"), "imagetools said {}", done.talk());
    Ok(())
}

fn prune(s: &Session) -> Result<()> {
    let total = |du: String| du.lines().rev().find_map(|line| line.strip_prefix("Total:").map(|n| n.trim().to_owned()));
    let before = s.out(&["buildx", "du"])?;
    ensure!(before.lines().count() > 5, "no record of any build: {before}");
    s.docker(["buildx", "prune", "--all", "--force"]).ok()?;
    same("what is left", total(s.out(&["buildx", "du"])?), Some("0B".to_owned()))
}
