//! `lighter disk`: how large the data disk may get, what it takes here and what the guest uses of it; `trim` gives freed
//! space back to this computer.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use lighter_protocol::paths;

use super::{Target, block_on, output, status};
use crate::agent;
use crate::control::Phase;
use crate::doctor::facts::DiskFacts;
use crate::doctor::gather;
use crate::plain;

/// A full disk of many terabytes takes some minutes.
const TRIM_LIMIT: Duration = Duration::from_secs(1800);

#[derive(Debug, Args)]
pub struct Disk {
    #[command(subcommand)]
    what: Option<What>,
    /// As JSON.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Show the data disk (the default).
    Show,
    /// Give space that containers have freed back to this computer; the machine must be running.
    Trim,
}

impl Disk {
    pub fn run(&self, target: &Target) -> anyhow::Result<ExitCode> {
        let runs = status::of(target)?.state == Phase::Running;
        match self.what {
            Some(What::Trim) => self.trim(target, runs),
            _ => self.show(target, &gather::disk(&target.profile, runs)),
        }
    }

    fn show(&self, target: &Target, disk: &DiskFacts) -> anyhow::Result<ExitCode> {
        if self.json {
            return output::data(&format!("{}\n", json(target, disk)));
        }
        if disk.limit.is_none() {
            output::talk(&format!("There is no data disk yet: `lighter start{}` makes one", target.flag()));
            return Ok(ExitCode::SUCCESS);
        }
        output::data(&table(disk, &target.flag()))
    }

    fn trim(&self, target: &Target, runs: bool) -> anyhow::Result<ExitCode> {
        if !runs {
            bail!("The machine is not running: `lighter start{}` starts it", target.flag());
        }
        let before = gather::disk(&target.profile, false).allocated.unwrap_or_default();
        // Blocks that were freed a moment ago count only once the file system has written that down.
        let script = format!("sync && exec busybox fstrim {}", paths::DATA);
        let command = ["sh", "-c", &script].map(str::to_owned).to_vec();
        let ended = block_on(async {
            let ended = tokio::time::timeout(TRIM_LIMIT, agent::run(&target.profile.control_socket(), command)).await;
            Ok(ended.context("The guest did not finish: `lighter restart` ends what it does")??)
        })?;
        if ended.code != 0 {
            let words = plain::one_line(&String::from_utf8_lossy(&ended.stderr));
            bail!("The guest could not give space back ({words}): `lighter logs kernel{}` says more", target.flag());
        }
        let disk = gather::disk(&target.profile, true);
        let given = before.saturating_sub(disk.allocated.unwrap_or(before));
        if self.json {
            let mut value = json(target, &disk);
            value["given_back_bytes"] = given.into();
            return output::data(&format!("{value}\n"));
        }
        output::talk(&format!("Gave {} back to this computer", output::size(given)));
        self.show(target, &disk)
    }
}

fn json(target: &Target, disk: &DiskFacts) -> serde_json::Value {
    serde_json::json!({
        "profile": target.profile.name().as_str(),
        "path": disk.path,
        "limit_bytes": disk.limit,
        "allocated_bytes": disk.allocated,
        "host_free_bytes": disk.free,
        "guest_size_bytes": disk.guest.map(|(size, _)| size),
        "guest_used_bytes": disk.guest.map(|(_, used)| used),
        "reclaimable_bytes": disk.reclaimable(),
    })
}

fn table(disk: &DiskFacts, flag: &str) -> String {
    let size = |bytes: Option<u64>| bytes.map_or_else(|| "unknown".to_owned(), output::size);
    let asleep = |known: String| {
        if disk.guest.is_none() { format!("only known while it runs: lighter start{flag}") } else { known }
    };
    let mut rows = vec![
        ("file", disk.path.display().to_string()),
        ("limit", size(disk.limit)),
        ("on this host", format!("{} taken, {} free beside it", size(disk.allocated), size(disk.free))),
        ("in the guest", asleep(format!("{} used", size(disk.guest.map(|(_, used)| used))))),
    ];
    if let Some(bytes) = disk.reclaimable() {
        let some = format!("at most {}: lighter disk trim{flag}", output::size(bytes));
        rows.push(("reclaimable", if bytes >> 20 > 0 { some } else { "nothing".to_owned() }));
    }
    rows.iter().map(|(name, value)| format!("{:<14}{value}\n", format!("{name}:"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_is_shown_with_what_is_known_of_it() {
        let mut disk = DiskFacts {
            path: "/h/data.img".into(),
            limit: Some(60 << 30),
            allocated: Some(3 << 30),
            free: Some(100 << 30),
            guest: Some((59 << 30, 2 << 30)),
        };
        let text = table(&disk, "");
        for words in ["60 GiB", "3 GiB taken, 100 GiB free", "2 GiB used", "at most 1 GiB: lighter disk trim\n"] {
            assert!(text.contains(words), "{words:?} is not in\n{text}");
        }
        disk.guest = None;
        let text = table(&disk, " -p work");
        assert!(text.contains("lighter start -p work") && !text.contains("reclaimable"), "{text}");
    }
}
