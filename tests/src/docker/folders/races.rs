//! F6: who swaps a folder for a link while somebody walks through it gets nowhere: the guest's kernel follows links in the
//! container, and the host's server follows none.

use anyhow::{Result, ensure};

use super::shared::Canary;
use super::{Case, Folder, Session, exec, same};

pub(super) fn cases() -> Vec<Case> {
    vec![Case { name: "files_f6_swapping_folders_for_links_leads_nowhere", run: swap }]
}

/// Seconds.
const LONG: u32 = 10;

fn swap(s: &Session) -> Result<()> {
    let canary = Canary::sing()?;
    let folder = Folder::made(s, "race")?;
    // The one that swaps has the program for it; busybox cannot exchange names.
    folder.container("race", &[])?;
    folder.container("swaps", &[])?;
    s.out(&["cp", &s.meter.display().to_string(), "swaps:/bin/meter"])?;
    let name = canary.name();
    folder.sh(&format!(
        "cd /src && mkdir -p deep/folder/tmp deep/other/tmp && echo harmless > deep/folder/tmp/{name} && cp -r deep/folder/tmp deep/other/ && \
         ln -s / deep/root && ln -s ../../../../../../../../../.. deep/up && ln -s /tmp deep/tmp"
    ))?;
    let read = format!(
        "cd /src/deep; end=$(($(cut -d. -f1 /proc/uptime) + {LONG})); n=0; while [ $(cut -d. -f1 /proc/uptime) -lt $end ]; do \
         cat folder/{name} folder/tmp/{name} other/tmp/{name} 2>/dev/null; ls folder other/tmp 2>/dev/null; n=$((n+1)); done | sort | uniq -c"
    );
    let seconds = LONG.to_string();
    let (said, swaps) = std::thread::scope(|scope| {
        let swapper = scope.spawn(|| {
            let links = ["/src/deep/root", "/src/deep/up", "/src/deep/tmp"];
            s.out(&[&["exec", "swaps", "/bin/meter", "swap", &seconds, "/src/deep/folder"], &links[..]].concat())
        });
        // The host's part in it: it swaps as well, by two renamings.
        let host = scope.spawn(|| by_the_host(&folder));
        let said = folder.sh(&read);
        let swaps = swapper.join().map_err(|_| anyhow::anyhow!("the swapper panicked"))?;
        host.join().map_err(|_| anyhow::anyhow!("the host's swapper panicked"))??;
        anyhow::Ok((said?, swaps?))
    })?;
    canary.is_unheard(&said)?;
    ensure!(said.contains("harmless"), "nothing was read at all: {said}");
    let count: u64 = swaps.parse()?;
    ensure!(count > 100, "only {count} swaps");
    // The server lives, and what it serves is right.
    same("afterwards", exec(s, "race", "echo well > /src/after && cat /src/after")?, "well".to_owned())?;
    same("on the host", folder.read("after")?, "well\n".to_owned())
}

/// Swaps another folder, which the container reads meanwhile, for a link to the host's own root. Every path here leads through
/// folders that nobody else swaps: those of this function's are followed by the host's kernel.
fn by_the_host(folder: &Folder) -> Result<()> {
    let [real, aside, link] = ["deep/other", "deep/aside", "deep/out"].map(|name| folder.path.join(name));
    let end = std::time::Instant::now() + std::time::Duration::from_secs(LONG.into());
    let moment = || std::thread::sleep(std::time::Duration::from_millis(1));
    while std::time::Instant::now() < end {
        std::os::unix::fs::symlink("/", &link)?;
        std::fs::rename(&real, &aside)?;
        std::fs::rename(&link, &real)?;
        moment();
        std::fs::remove_file(&real)?;
        std::fs::rename(&aside, &real)?;
        moment();
    }
    Ok(())
}
