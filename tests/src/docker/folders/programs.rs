//! Real programs of Debian's on folders of the host: git, whose objects are hashes of themselves, databases that check their own
//! pages, in containers and on the host in turn.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::{Case, Folder, Session, same};
use crate::docker::served::image::Image;
use crate::packages::{self, Package};
use crate::process::Run;

/// Runs by its whole name only: its image alone takes minutes to load.
pub const POSTGRES_CASE: &str = "files_postgres_keeps_its_data_in_a_bind";

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case { name: "files_git_clones_and_commits", run: git },
        Case { name: "files_sqlite_with_wal_in_two_containers", run: sqlite },
        Case { name: POSTGRES_CASE, run: postgres },
    ]
}

pub(super) const PROGRAMS: Image = Image {
    name: "programs:test",
    packages: &[
        "libc6",
        "git",
        "libpcre2-8-0",
        "zlib1g",
        "sqlite3",
        "libsqlite3-0",
        "libreadline8t64",
        "libtinfo6",
        "libgcc-s1",
    ],
    files: &[("etc/group", "root:x:0:\n")],
    big: None,
};

/// The same programs on the host, which look at what the container made.
const HOSTS: &[Package] = &[Package { name: "git", probe: "git" }, Package { name: "sqlite3", probe: "sqlite3" }];

/// Brings what these cases unpack and install to this host, for a rig that has no way out.
pub(super) fn fetch(cache: &Path) -> Result<()> {
    packages::ensure(HOSTS)?;
    lighter_image::tools::all_unpacked(cache, PROGRAMS.packages)?;
    lighter_image::tools::whole(cache, POSTGRES).map(drop).map_err(Into::into)
}

const POSTGRES: &str = "postgresql-17";

/// What git wants to know, and no configuration of anybody's.
const GIT: [(&str, &str); 8] = [
    ("GIT_CONFIG_NOSYSTEM", "1"),
    ("GIT_CONFIG_COUNT", "1"),
    ("GIT_CONFIG_KEY_0", "safe.directory"),
    ("GIT_CONFIG_VALUE_0", "*"),
    ("GIT_AUTHOR_NAME", "A"),
    ("GIT_AUTHOR_EMAIL", "a@b"),
    ("GIT_COMMITTER_NAME", "A"),
    ("GIT_COMMITTER_EMAIL", "a@b"),
];

pub(super) fn host_git(s: &Session, at: &Path, words: &[&str]) -> Result<String> {
    let run = GIT.iter().fold(s.dress(Run::new("git")), |run, (key, value)| run.env(key, value));
    Ok(run.dir(at).args(words).ok()?.text())
}

/// A container in which git works in the folder.
pub(super) fn container_git(s: &Session, folder: &Folder, name: &str) -> Result<()> {
    let environment: Vec<String> = GIT.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let mut words: Vec<&str> = environment.iter().flat_map(|pair| ["-e", pair]).collect();
    let bind = format!("{}:/src", folder.path.display());
    words.extend(["-v", &bind]);
    s.out(&[&["run", "-d", "--name", name], &words[..], &[PROGRAMS.name, "sleep", "3600"]].concat()).map(drop)
}

fn git(s: &Session) -> Result<()> {
    packages::ensure(HOSTS)?;
    PROGRAMS.made(s)?;
    let folder = Folder::made(s, "git")?;
    let origin = folder.path.join("origin");
    for number in 0..500 {
        let within = origin.join(format!("d{}", number % 20));
        fs::create_dir_all(&within)?;
        fs::write(within.join(format!("file {number}")), format!("{number}\n").repeat(1 + number % 50))?;
    }
    let script = "git init -q -b main && git add . && git commit -q -m first";
    for words in script.split(" && ") {
        host_git(s, &origin, &words.split(' ').skip(1).collect::<Vec<_>>())?;
    }
    container_git(s, &folder, "git")?;
    let script = "cd /src && git clone -q origin clone && cd clone && git status --porcelain && echo more >> 'd1/file 1' && \
        git rm -q 'd2/file 2' && git mv 'd3/file 3' moved && git status --porcelain | sort && git commit -q -a -m second && \
        git status --porcelain && git log --format=%s && git fsck --full --strict 2>&1 | grep -v '^Checking' ; git rev-parse HEAD HEAD^{tree}";
    let said = folder.sh(script)?;
    let clone = folder.path.join("clone");
    let hashes = host_git(s, &clone, &["rev-parse", "HEAD", "HEAD^{tree}"])?;
    let names = "M \"d1/file 1\"\nD  \"d2/file 2\"\nR  \"d3/file 3\" -> moved";
    same("git in the container", said, format!("{names}\nsecond\nfirst\n{hashes}"))?;
    // And back: the host sees a clean tree, whole, and goes on in it.
    same("git status on the host", host_git(s, &clone, &["status", "--porcelain"])?, String::new())?;
    host_git(s, &clone, &["fsck", "--full", "--strict"])?;
    host_git(s, &clone, &["commit", "-q", "--allow-empty", "-m", "third"])?;
    host_git(s, &clone, &["gc", "-q"])?;
    super::seen_within(&folder, "a commit of the host", "[ $(git -C /src/clone log --format=%s | wc -l) = 3 ]")?;
    // An edit is seen when the guest has looked again, not before the host's program has ended.
    let digits = "0 1 2 3 4 5 6 7 8 9 a b c d e f";
    let is_empty = format!(
        "for one in {digits}; do for other in {digits}; do at=/src/clone/.git/objects/$one$other; set -- $at/*; \
         [ \"$1\" = \"$at/*\" ] || exit 1; done; done"
    );
    super::seen_within(&folder, "what the host packed", &is_empty)?;
    let fsck = "git fsck --full 2> /tmp/fsck || { cat /tmp/fsck >&2; exit 1; }";
    let script = format!("cd /src/clone && {{ {fsck}; }} && git status --porcelain");
    same("after the host's commit", folder.sh(&script)?, String::new())
}

const DATABASE: &str = "/src/data.db";

fn sqlite(s: &Session) -> Result<()> {
    packages::ensure(HOSTS)?;
    PROGRAMS.made(s)?;
    let folder = Folder::made(s, "sqlite")?;
    let bind = format!("{}:/src", folder.path.display());
    for name in ["sqlite", "second"] {
        s.out(&["run", "-d", "--name", name, "-v", &bind, "programs:test", "sleep", "3600"])?;
    }
    let begin = "PRAGMA journal_mode=WAL; CREATE TABLE t (word TEXT, number INTEGER);";
    same("journal", folder.sh(&format!("sqlite3 {DATABASE} '{begin}'"))?, "wal".to_owned())?;
    // One process each, so that they wait for each other's locks and read each other's pages in shared memory.
    let insert = |word: &str| {
        format!(
            "(echo '.timeout 60000'; i=0; while [ $i -lt 200 ]; do echo \"INSERT INTO t VALUES ('{word}', $i);\"; i=$((i+1)); \
             done; echo 'SELECT count(*) FROM t WHERE word = \"{word}\";') | sqlite3 -bail {DATABASE}"
        )
    };
    let said = std::thread::scope(|scope| {
        let other = scope.spawn(|| super::exec(s, "second", &insert("second")));
        let first = folder.sh(&insert("first"))?;
        anyhow::Ok([first, other.join().map_err(|_| anyhow::anyhow!("the writer panicked"))??])
    })?;
    same("rows of each", said, ["200".to_owned(), "200".to_owned()])?;
    let check = "PRAGMA integrity_check; SELECT count(*), sum(number) FROM t;";
    same("in the container", folder.sh(&format!("sqlite3 {DATABASE} '{check}'"))?, "ok\n400|39800".to_owned())?;
    s.sweep()?;
    let host = s.dress(Run::new("sqlite3")).args([folder.path.join("data.db")]).args([check]).ok()?.text();
    same("on the host", host, "ok\n400|39800".to_owned())
}

fn postgres(s: &Session) -> Result<()> {
    postgres_image(s)?;
    let folder = Folder::made(s, "postgres")?;
    let bind = format!("{}:/src", folder.path.display());
    let run = |name: &str| s.out(&["run", "-d", "--name", name, "-v", &bind, "postgres:test", "sleep", "3600"]);
    run("postgres")?;
    // As the official image's entry point does it.
    folder.sh("mkdir -p /src/data && chown 999:999 /src/data && chmod 0700 /src/data && chmod 1777 /tmp")?;
    let as_owner = |name: &str, script: &str| -> Result<String> {
        let script = format!("export PATH=/usr/lib/postgresql/17/bin:/bin PGDATA=/src/data PGHOST=/tmp; {script}");
        Ok(s.docker(["exec", "-u", "999:999", name, "sh", "-c", &script]).within(s.seconds(500)).ok()?.text())
    };
    as_owner("postgres", "initdb --no-locale -k -U postgres > /tmp/initdb")?;
    let start =
        "pg_ctl -w -t 300 -o '-k /tmp -h \"\"' -l /tmp/log start > /tmp/started || { cat /tmp/log >&2; exit 1; }; ";
    let fill = "psql -qAtU postgres -c 'create table t as select n, md5(n::text) as h from generate_series(1, 5000) n' \
        -c 'checkpoint' -c 'select count(*), sum(n) from t'";
    same("rows", as_owner("postgres", &format!("{start}{fill}"))?, "5000|12502500".to_owned())?;
    // Two clients at once, whose books have to balance.
    let bench = "pgbench -i -q -s 1 -U postgres postgres 2> /dev/null > /dev/null && \
        pgbench -c 2 -t 100 -U postgres postgres 2> /dev/null | grep -E '(processed|failed)' && \
        psql -qAtU postgres -c 'select (select sum(abalance) from pgbench_accounts) = (select sum(delta) from pgbench_history), \
        (select count(*) from pgbench_history)'";
    let said = as_owner("postgres", bench)?;
    let processed =
        "number of transactions actually processed: 200/200\nnumber of failed transactions: 0 (0.000%)\nt|200";
    same("pgbench", said, processed.to_owned())?;
    // Killed without a word: the journal has to be whole.
    s.out(&["rm", "-f", "postgres"])?;
    run("later")?;
    s.out(&["exec", "later", "chmod", "1777", "/tmp"])?;
    let check = "psql -qAtU postgres -c 'select count(*), sum(n) from t' && pg_ctl -w stop > /tmp/stopped && pg_checksums -c > /tmp/sums";
    same("rows after a crash", as_owner("later", &format!("{start}{check}"))?, "5000|12502500".to_owned())?;
    ensure!(folder.path.join("data/PG_VERSION").is_file(), "the host cannot look into it");
    Ok(())
}

/// Postgres with all that it depends on, but for what it translates queries with and what configures it.
fn postgres_image(s: &Session) -> Result<()> {
    if s.docker(["image", "inspect", "postgres:test"]).finish()?.status.success() {
        return Ok(());
    }
    let whole = lighter_image::tools::whole(&s.cache, POSTGRES)?;
    let tree = tempfile::tempdir()?;
    crate::docker::busybox_tree(&s.busybox, tree.path())?;
    for (link, target) in [("lib64", "usr/lib64"), ("lib", "usr/lib")] {
        std::os::unix::fs::symlink(target, tree.path().join(link))?;
    }
    fs::create_dir_all(tree.path().join("usr/share"))?;
    let share = tree.path().join("usr/share");
    for (from, to) in [("usr/lib", tree.path().join("usr")), ("usr/lib64", tree.path().join("usr"))] {
        Run::new("cp").args(["-a"]).args([whole.join(from), to]).ok()?;
    }
    for folder in ["postgresql", "zoneinfo"] {
        Run::new("cp").args(["-a"]).args([whole.join("usr/share").join(folder), share.clone()]).ok()?;
    }
    let big = format!(
        "cd '{}' && rm -rf usr/lib/x86_64-linux-gnu/*LLVM* usr/lib/x86_64-linux-gnu/perl* usr/lib/x86_64-linux-gnu/gconv \
         usr/lib/postgresql/17/lib/bitcode usr/lib/llvm* usr/lib/python3* usr/lib/systemd usr/lib/locale usr/lib/udev",
        tree.path().display()
    );
    Run::new("sh").args(["-c", &big]).ok()?;
    fs::write(tree.path().join("etc/passwd"), "root:x:0:0::/:/bin/sh\npostgres:x:999:999::/:/bin/sh\n")?;
    let tar = crate::docker::tar_of(tree.path()).context("pack the image")?;
    let import = s.docker(["import", "-", "postgres:test"]).stdin(std::io::Cursor::new(tar));
    import.within(s.seconds(500)).ok().map(drop)
}
