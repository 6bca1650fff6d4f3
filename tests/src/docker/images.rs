//! Images without a registry: import, tag, save and load, export, history, commit, rmi.

use anyhow::{Result, ensure};

use super::{BUSYBOX, Case, Session, same};

/// The cases of this file.
pub fn cases() -> Vec<Case> {
    vec![
        Case { name: "save_and_load_give_the_same_image", run: save_load },
        Case { name: "export_and_import_keep_the_tree", run: export_import },
        Case { name: "commit_tag_history_rmi", run: commit },
        Case { name: "load_refuses_rubbish_and_says_so", run: load_rubbish },
    ]
}

fn save_load(s: &Session) -> Result<()> {
    let tar = s.dir.join("saved.tar");
    s.out(&["tag", BUSYBOX, "again:1"])?;
    let id = s.out(&["image", "inspect", "-f", "{{.Id}}", "again:1"])?;
    s.docker(["save", "-o"]).args([&tar]).args(["again:1"]).ok()?;
    s.out(&["rmi", "again:1"])?;
    let loaded = s.docker(["load"]).stdin(std::fs::File::open(&tar)?).ok()?;
    ensure!(loaded.text().contains("again:1"), "load said {:?}", loaded.text());
    same("image id", s.out(&["image", "inspect", "-f", "{{.Id}}", "again:1"])?, id)?;
    s.out(&["rmi", "again:1"]).map(drop)
}

fn export_import(s: &Session) -> Result<()> {
    s.out(&["run", "--name", "changed", BUSYBOX, "sh", "-c", "seq 100000 > /root/numbers; chmod 640 /root/numbers"])?;
    let tar = s.dir.join("exported.tar");
    s.docker(["export", "-o"]).args([&tar]).args(["changed"]).ok()?;
    s.docker(["import"]).args([&tar]).args(["copy:1"]).ok()?;
    let seen = s.out(&["run", "--rm", "copy:1", "sh", "-c", "wc -l < /root/numbers; stat -c %a /root/numbers"])?;
    same("content of the import", seen, "100000\n640".to_owned())?;
    s.out(&["rmi", "copy:1"]).map(drop)
}

fn commit(s: &Session) -> Result<()> {
    s.out(&["run", "--name", "base", BUSYBOX, "sh", "-c", "echo layer > /layer"])?;
    s.out(&["commit", "--change", "CMD [\"cat\", \"/layer\"]", "base", "made:1"])?;
    same("committed image", s.out(&["run", "--rm", "made:1"])?, "layer".to_owned())?;
    ensure!(s.out(&["history", "-q", "made:1"])?.lines().count() >= 2, "history is too short");
    ensure!(
        s.out(&["images", "--format", "{{.Repository}}"])?.lines().any(|name| name == "made"),
        "images does not list it"
    );
    s.out(&["rm", "base"])?;
    s.out(&["rmi", "made:1"]).map(drop)
}

fn load_rubbish(s: &Session) -> Result<()> {
    let done = s.docker(["load"]).stdin(std::io::Cursor::new(vec![0x55u8; 300_000])).finish()?;
    ensure!(!done.status.success() && !done.talk().is_empty(), "rubbish was loaded");
    same("the engine still answers", s.out(&["ps", "-q"])?, String::new())
}
