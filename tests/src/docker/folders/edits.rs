//! Edits on the host, as containers see them: soon, also what they had looked at before, and without a hang when all is gone.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use anyhow::{Result, ensure};

use super::{BUSYBOX, Case, Folder, Session, same, seen_within};

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case { name: "files_edits_of_the_host_are_seen", run: edits },
        Case { name: "files_the_host_changes_modes", run: modes },
        Case { name: "files_f9_the_host_removes_the_bound_folder", run: removed },
    ]
}

fn edits(s: &Session) -> Result<()> {
    let folder = Folder::bound(s, "edits")?;
    for name in ["edited", "longer", "replaced", "deleted", "renamed"] {
        folder.write(name, "before\n")?;
    }
    fs::create_dir(folder.path.join("folder"))?;
    // All of it is in the guest's caches from here on, and that some is not there.
    folder.sh("cd /src && cat edited longer replaced deleted renamed && ls -l . folder && ! ls new other folder/new 2>/dev/null")?;
    // Of the same length: only its time tells.
    folder.write("edited", "behind\n")?;
    seen_within(&folder, "new content", "[ $(cat /src/edited) = behind ]")?;
    folder.write("longer", "before and after\n")?;
    seen_within(&folder, "more content", "[ \"$(cat /src/longer)\" = 'before and after' ]")?;
    folder.write("replacement", "another\n")?;
    fs::rename(folder.path.join("replacement"), folder.path.join("replaced"))?;
    seen_within(&folder, "a file that was replaced", "[ $(cat /src/replaced) = another ]")?;
    fs::remove_file(folder.path.join("deleted"))?;
    seen_within(&folder, "a deletion", "! [ -e /src/deleted ]")?;
    folder.write("new", "new\n")?;
    seen_within(&folder, "a new name that was asked for before", "[ $(cat /src/new) = new ]")?;
    folder.write("folder/new", "new\n")?;
    seen_within(&folder, "a new name in a list", "ls /src/folder | grep -q new")?;
    fs::rename(folder.path.join("renamed"), folder.path.join("other"))?;
    seen_within(&folder, "a renaming", "[ -e /src/other ] && ! [ -e /src/renamed ]")?;
    // A folder becomes a file, and the other way round.
    fs::remove_dir_all(folder.path.join("folder"))?;
    folder.write("folder", "a file\n")?;
    seen_within(&folder, "a folder that became a file", "[ -f /src/folder ] && grep -q file /src/folder")?;
    follows(&folder)
}

/// Who has a file open sees what the host adds to it.
fn follows(folder: &Folder) -> Result<()> {
    folder.write("log", "first\n")?;
    let follow = "tail -n +1 -f /src/log > /tmp/heard & at=$!; touch /src/follows; \
        for i in $(seq 200); do grep -q second /tmp/heard && break; sleep 0.1; done; kill $at; cat /tmp/heard";
    let heard = std::thread::scope(|scope| {
        let reader = scope.spawn(|| folder.sh(follow));
        for _ in 0..600 {
            if folder.path.join("follows").exists() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
        let mut log = fs::OpenOptions::new().append(true).open(folder.path.join("log"))?;
        std::io::Write::write_all(&mut log, b"second\n")?;
        reader.join().map_err(|_| anyhow::anyhow!("the reader panicked"))?
    })?;
    same("what `tail -f` heard", heard, "first\nsecond".to_owned())
}

fn modes(s: &Session) -> Result<()> {
    let folder = Folder::bound(s, "modes")?;
    fs::create_dir(folder.path.join("open"))?;
    fs::set_permissions(folder.path.join("open"), fs::Permissions::from_mode(0o777))?;
    let touch = |name: &str| s.docker(["exec", "-u", "1000", "modes", "touch", &format!("/src/open/{name}")]).finish();
    let done = touch("first")?;
    ensure!(done.status.success(), "in a folder for all: {}", done.talk());
    fs::set_permissions(folder.path.join("open"), fs::Permissions::from_mode(0o555))?;
    seen_within(&folder, "a change of mode", "[ $(stat -c %a /src/open) = 555 ]")?;
    let done = touch("second")?;
    ensure!(done.talk().contains("Permission denied"), "in a folder that was made read-only: {}", done.talk());
    // A mode that the container set is no more than what was there before.
    folder.sh("chown 5:5 /src/open && chmod 700 /src/open && touch /src/open/third")?;
    fs::set_permissions(folder.path.join("open"), fs::Permissions::from_mode(0o751))?;
    seen_within(&folder, "a change of a mode of the container's", "[ $(stat -c %a /src/open) = 751 ]")
}

fn removed(s: &Session) -> Result<()> {
    let folder = Folder::bound(s, "removed")?;
    folder.write("file", "content\n")?;
    fs::create_dir(folder.path.join("in"))?;
    folder.sh("cat /src/file && ls -l /src/in")?;
    fs::remove_dir_all(&folder.path)?;
    let script = "sleep 1.5; cd /src; ls; cat file; touch new; mkdir sub; ls in; stat .; echo alive";
    let done = folder.tries(&format!("timeout 30 sh -c '{script}'"))?;
    ensure!(done.text().ends_with("alive"), "the container hangs: {} {} {}", done.status, done.text(), done.talk());
    ensure!(!done.text().contains("content"), "what is gone is still read: {}", done.text());
    ensure!(!folder.path.exists(), "the container made it anew");
    // Made again, it is another folder, which a new container sees.
    fs::create_dir_all(&folder.path)?;
    folder.write("file", "anew\n")?;
    let bind = format!("{}:/src", folder.path.display());
    let look = "for i in $(seq 30); do grep -s anew /src/file && exit; sleep 0.1; done; ls -la /src; exit 1";
    same("a new container", s.out(&["run", "--rm", "-v", &bind, BUSYBOX, "sh", "-c", look])?, "anew".to_owned())?;
    s.out(&["rm", "-f", "removed"])?;
    same("lighter", s.lighter(["shell", "echo", "well"]).ok()?.text(), "well".to_owned())
}
