//! A large file of the host as memory in a container, with `map_files`: where the engine can, both use the same pages, and what
//! the host does to the file then is seen at once and stops nothing. Where it cannot, all else works as without.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;

use anyhow::{Context, Result, ensure};

use super::{BUSYBOX, Case, Folder, Session, same};

pub(super) fn restarting() -> Vec<Case> {
    vec![Case { name: "files_mapped_are_the_hosts_own_pages", run: with_mapping }]
}

/// Two mappings of 2 MiB and a part of a third.
const BYTES: usize = 5 << 20;
/// In the third.
const FAR: usize = (4 << 20) + 4096;

fn with_mapping(s: &Session) -> Result<()> {
    let config = s.dir.join("home/default/config.toml");
    let before = fs::read_to_string(&config)?;
    s.lighter(["stop"]).ok()?;
    s.configure("map_files = true")?;
    let tried = s.start().and_then(|()| mapped(s));
    s.lighter(["stop"]).ok()?;
    fs::write(&config, before)?;
    s.start()?;
    tried
}

/// A container in which the file is mapped, and its words.
struct Reader<'a>(&'a Session);

impl<'a> Reader<'a> {
    fn start(s: &'a Session, folder: &Folder) -> Result<Self> {
        let bind = format!("{}:/src", folder.path.display());
        // The pipe is open for both, so that it does not end with who writes to it.
        let run = "mkfifo /data/in && exec 3<> /data/in && /data/meter map /src/large <&3 > /data/out";
        s.out(&["create", "--name", "maps", "-v", &bind, BUSYBOX, "sh", "-c", run])?;
        s.out(&["cp", &s.meter.display().to_string(), "maps:/data/meter"])?;
        s.out(&["start", "maps"])?;
        Ok(Self(s))
    }

    /// What it says at first.
    fn ready(&self) -> Result<String> {
        self.sh("while ! [ -s /data/out ]; do sleep 0.1; done; cat /data/out")
    }

    /// What it answers.
    fn ask(&self, words: &str) -> Result<String> {
        self.sh(&format!(
            "n=$(wc -l < /data/out); echo '{words}' > /data/in; while [ $(wc -l < /data/out) = $n ]; do sleep 0.1; done; \
             tail -n 1 /data/out"
        ))
    }

    fn sh(&self, script: &str) -> Result<String> {
        super::exec(self.0, "maps", script)
    }
}

fn mapped(s: &Session) -> Result<()> {
    let folder = Folder::made(s, "mapped")?;
    let path = folder.path.join("large");
    fs::write(&path, vec![b'a'; BYTES])?;
    let host = OpenOptions::new().read(true).write(true).open(&path)?;
    let reader = Reader::start(s, &folder)?;
    let shared = s.engine == "kvm";
    same("whose pages", reader.ready()?, if shared { "ready dax" } else { "ready copy" }.to_owned())?;
    let near = "read 10 5";
    let far = format!("read {FAR} 5");
    same("at first", [reader.ask(near)?, reader.ask(&far)?], ["aaaaa".to_owned(), "aaaaa".to_owned()])?;
    if shared {
        // No time and no length tells of it: the page itself is another.
        host.write_all_at(b"hosts", FAR as u64)?;
        same("an edit of the host", reader.ask(&far)?, "hosts".to_owned())?;
        // Nor does what tells containers of the edit touch the file.
        let mut wanted = vec![b'a'; BYTES];
        wanted[FAR..FAR + 5].copy_from_slice(b"hosts");
        std::thread::sleep(std::time::Duration::from_secs(2));
        ensure!(fs::read(&path)? == wanted, "the file is not what the host wrote");
    }
    same("written", reader.ask("write 10 guest")?, "written".to_owned())?;
    same("synced", reader.ask("sync")?, "synced".to_owned())?;
    let mut seen = [0; 5];
    host.read_exact_at(&mut seen, 10)?;
    same("what the container wrote, on the host", &seen, b"guest")?;
    same("its length on the host", fs::metadata(&path)?.len(), BYTES as u64)?;
    cut(s, &reader, &host, &far, shared)?;
    s.sweep()?;
    // What is read and written in the ordinary way goes the same way.
    fs::write(&path, vec![b'b'; BYTES])?;
    let bind = format!("{}:/src", folder.path.display());
    let script = "echo more >> /src/large && tail -c 7 /src/large && dd if=/src/large of=/src/copy bs=64k 2> /dev/null && \
        cmp /src/large /src/copy && wc -c < /src/copy";
    let said = s.out(&["run", "--rm", "-v", &bind, BUSYBOX, "sh", "-c", script])?;
    same("read and written", said, format!("bbmore\n{}", BYTES + 5))?;
    ensure!(fs::read(&path)? == fs::read(folder.path.join("copy"))?, "the copy is not the same on the host");
    Ok(())
}

/// The host cuts the file under the mapping. What the container then reads there is nothing, or a signal; everything else goes on.
fn cut(s: &Session, reader: &Reader, host: &fs::File, far: &str, shared: bool) -> Result<()> {
    host.set_len(1 << 20)?;
    let after = reader.ask(far);
    if let Ok(read) = &after {
        ensure!(!shared || read == ".....", "behind the end of the file there is {read}");
    }
    let state = s.out(&["run", "--rm", BUSYBOX, "echo", "well"])?;
    same("another container", state, "well".to_owned())?;
    let status = s.lighter(["status", "--json"]).ok()?.text();
    ensure!(status.contains("\"running\""), "the machine is no more: {status}");
    if after.is_err() {
        let code = s.out(&["inspect", "-f", "{{.State.ExitCode}}", "maps"])?;
        // 128 and SIGBUS.
        return same("the end of who read there", code, "135".to_owned());
    }
    // Long again, it is what the host makes of it.
    host.set_len(BYTES as u64)?;
    host.write_all_at(b"again", FAR as u64)?;
    let test = format!("[ $(head -c {} /src/large | tail -c 5) = again ]", FAR + 5);
    reader
        .sh(&format!("i=0; while ! {test}; do i=$((i+1)); [ $i -lt 100 ] || exit 1; sleep 0.2; done"))
        .context("what the host wrote to the longer file is not seen")
        .map(drop)
}
