//! `docker build`, with the classic builder and with BuildKit (whose /session and /grpc are h2c streams inside an upgrade).

use std::path::PathBuf;

use anyhow::{Result, ensure};

use super::{BUSYBOX, Case, Session, same};

/// The cases of this file.
pub fn cases() -> Vec<Case> {
    vec![
        Case { name: "build_classic", run: classic },
        Case { name: "build_buildkit_with_secret_and_cache_mount", run: buildkit },
        Case { name: "build_context_of_2000_files", run: big_context },
    ]
}

fn context(s: &Session, name: &str, dockerfile: &str) -> Result<PathBuf> {
    let dir = s.dir.join(name);
    std::fs::create_dir_all(&dir)?;
    std::fs::write(dir.join("Dockerfile"), dockerfile)?;
    std::fs::write(dir.join("payload"), "from the context\n")?;
    Ok(dir)
}

fn classic(s: &Session) -> Result<()> {
    let file = format!(
        "FROM {BUSYBOX}\nARG WORD\nCOPY payload /payload\nRUN echo $WORD >> /payload\nCMD [\"cat\", \"/payload\"]\n"
    );
    let dir = context(s, "classic", &file)?;
    let build = s.docker(["build", "--build-arg", "WORD=argued", "-t", "classic:1"]).args([&dir]);
    build.env("DOCKER_BUILDKIT", "0").within(s.seconds(120)).ok()?;
    same("built image", s.out(&["run", "--rm", "classic:1"])?, "from the context\nargued".to_owned())?;
    s.out(&["rmi", "classic:1"]).map(drop)
}

fn buildkit(s: &Session) -> Result<()> {
    let file = format!(
        "FROM {BUSYBOX} AS one\nRUN --mount=type=secret,id=key cp /run/secrets/key /copied\n\
         RUN --mount=type=cache,target=/cache echo warm > /cache/x\n\
         FROM {BUSYBOX}\nCOPY --from=one /copied /copied\nCOPY payload /payload\nCMD [\"cat\", \"/copied\", \"/payload\"]\n"
    );
    let dir = context(s, "buildkit", &file)?;
    let secret = s.dir.join("secret");
    std::fs::write(&secret, "whispered\n")?;
    let build = s.docker(["buildx", "build", "--progress", "plain", "--load", "-t", "kit:1", "--secret"]);
    let build = build.args([format!("id=key,src={}", secret.display())]).args([&dir]);
    let done = build.env("DOCKER_BUILDKIT", "1").within(s.seconds(180)).finish()?;
    ensure!(done.status.success(), "buildx: {} {}", done.text(), done.talk());
    same("built image", s.out(&["run", "--rm", "kit:1"])?, "whispered\nfrom the context".to_owned())?;
    s.out(&["rmi", "kit:1"]).map(drop)
}

fn big_context(s: &Session) -> Result<()> {
    let dir = context(
        s,
        "big",
        &format!("FROM {BUSYBOX}\nCOPY . /all\nRUN ls /all/files | wc -l > /count\nCMD [\"cat\", \"/count\"]\n"),
    )?;
    std::fs::create_dir_all(dir.join("files"))?;
    for i in 0..2000 {
        std::fs::write(dir.join(format!("files/{i}")), vec![i as u8; 1000])?;
    }
    let build = s.docker(["build", "-t", "big:1"]).args([&dir]);
    build.env("DOCKER_BUILDKIT", "0").within(s.seconds(180)).ok()?;
    same("files", s.out(&["run", "--rm", "big:1"])?, "2000".to_owned())?;
    s.out(&["rmi", "big:1"]).map(drop)
}
