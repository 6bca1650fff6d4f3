//! What must not be left of a daemon that is asleep, is woken, is killed or is found by nobody any more.

use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use lighter::daemon::{Begin, Daemon};
use lighter::home::{Home, ProfileName};
use lighter::sys::endpoint::Inherited;

use crate::guest::StandIn;
use crate::lab::{Lab, end, eventually};
use crate::wake::{LIST, served, stopped};

cases! {
    fn x3_signals_and_kill_9_of_a_sleeping_daemon_leave_nothing_that_blocks_the_next_start() {
        let lab = Lab::new();
        for signal in ["-TERM", "-INT", "-HUP", "-KILL"] {
            lab.ok(&["start", "--asleep"]);
            lab.signal(signal);
            eventually("it has gone", || lab.processes().is_empty());
            if signal != "-KILL" {
                lab.assert_clean();
            }
        }
        assert!(lab.profile().join("docker.sock").exists(), "a stale socket is what this is about");
        lab.ok(&["start"]);
        lab.ok(&["stop"]);
        assert!(served(&lab.ask("GET", LIST)));
        // Ctrl-C takes back what the start did, and no more.
        lab.ok(&["stop"]);
        lab.mode("silent");
        let start = lab.spawn(&["start"]);
        eventually("it is starting", || lab.status()["state"] == "starting" && lab.machines() == 3);
        assert!(Command::new("kill").args(["-INT", &start.id().to_string()]).status().unwrap().success());
        assert_eq!(end(start).code, Some(130));
        assert!(stopped(&lab), "the endpoint was there before");
        lab.ok(&["delete", "--force"]);
        assert!(!lab.profile().exists() && lab.processes().is_empty());
    }

    fn g17_a_hundred_wakes_and_stops_leave_no_descriptor_and_no_memory() {
        let lab = Lab::new();
        let cycle = || {
            assert!(served(&lab.ask("GET", LIST)));
            lab.ok(&["stop"]);
        };
        // Of the allocator as little as can be: an arena for each thread that is busy at the same moment as another is no leak.
        let allocator = ("GLIBC_TUNABLES", "glibc.malloc.arena_max=1:glibc.malloc.tcache_count=0");
        let start = lab.command(&["start", "--asleep"]).env(allocator.0, allocator.1).spawn().unwrap();
        assert_eq!(end(start).code, Some(0));
        let pid = lab.status()["pid"].to_string();
        let descriptors = || std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
        (0..3).for_each(|_| cycle());
        let (open, first) = (descriptors(), private_kib(&pid));
        // What each wake left behind would grow in every round; a thread more comes once.
        let mut grown: Vec<u64> = (0..4)
            .map(|_| {
                let private = private_kib(&pid);
                (0..25).for_each(|_| cycle());
                private_kib(&pid).saturating_sub(private)
            })
            .collect();
        // Who asked last may not have been forgotten yet, now or when they were counted; a hundred leaks would be more than that.
        eventually("every connection is closed", || descriptors() <= open);
        let all = private_kib(&pid).saturating_sub(first);
        grown.sort_unstable();
        assert!(grown[1] < 256 && all < 2048, "{all} KiB more than at first; in each 25 wakes {grown:?}");
        assert_eq!((lab.machines(), lab.status()["pid"].to_string()), (103, pid.clone()));
        lab.ok(&["stop", "--quit"]);
        lab.assert_clean();
    }

    fn g17_a_sleeping_daemon_that_nobody_can_find_any_more_ends() {
        let take_directory = |profile: &std::path::Path| std::fs::remove_dir_all(profile);
        let take_socket = |profile: &std::path::Path| std::fs::remove_file(profile.join("docker.sock"));
        for take in [take_directory as fn(&std::path::Path) -> std::io::Result<()>, take_socket] {
            let lab = Lab::new();
            // Its clock goes as fast as nothing else happens.
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
            runtime.block_on(async {
                let profile = Home::at(lab.home()).unwrap().profile(ProfileName::new("default").unwrap());
                let listen = Daemon::listen(profile, Begin::Asleep, &mut Inherited::default(), Instant::now());
                let life = tokio::spawn(listen.unwrap().run(Arc::new(StandIn(lab.image("")))));
                take(&lab.profile()).unwrap();
                life.await.unwrap().unwrap();
            });
            assert!(lab.files().iter().all(|name| !name.contains("sock") && !name.contains("lock")), "{:?}", lab.files());
        }
    }
}

/// KiB that a process has for itself.
fn private_kib(pid: &str) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    // Not what is private, clean or dirty: pages of the program's file are so by whether another test runs it meanwhile, and
    // by whether it has just been linked.
    let line = text.lines().find(|line| line.starts_with("Anonymous:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
