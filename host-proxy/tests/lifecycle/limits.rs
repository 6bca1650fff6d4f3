//! What must hold on hosts that give little: few files, threads or memory, and no processor that may be used.

use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

use crate::lab::{Lab, can_mount, ends_promptly, eventually, fails, is_root};

/// Somebody whom no host knows, another for each test, so that no limit counts another's processes.
struct Somebody(&'static str);

impl Somebody {
    /// What runs a program as them.
    fn words(&self) -> [&'static str; 6] {
        ["setpriv", "--reuid", self.0, "--regid", self.0, "--clear-groups"]
    }

    /// Whether a test can be them, and they can run `program`.
    fn can_run(&self, program: &str) -> bool {
        let words = self.words();
        let test = Command::new(words[0]).args(&words[1..]).args(["test", "-x", program]).status();
        let can = is_root() && test.is_ok_and(|status| status.success());
        if !can {
            println!("not root, or {program} is hidden from other users: nothing can be run as somebody else");
        }
        can
    }

    fn own(&self, lab: &Lab) {
        let (owner, dir) = (format!("{0}:{0}", self.0), lab.home().parent().unwrap());
        assert!(Command::new("chown").args(["-R", &owner]).arg(dir).status().unwrap().success());
    }
}

cases! {
    fn c8_a_machine_lives_with_256_files_and_no_locked_memory() {
        let lab = Lab::new();
        let limits = ["prlimit", "--nofile=256:256", "--memlock=0:0"];
        let said = ends_promptly(lab.through(&limits, &["start"]).spawn().unwrap());
        assert_eq!(said.code, Some(0), "{said:#?}");
        let of_the_daemon = std::fs::read_to_string(format!("/proc/{}/limits", lab.status()["pid"])).unwrap();
        let files = of_the_daemon.lines().find(|line| line.starts_with("Max open files")).unwrap();
        assert_eq!(files.split_whitespace().nth(3), Some("256"), "{files}");
        assert!(lab.ask("GET", "/_ping").ends_with("OK"));
        // More clients than it can have; when they are gone it serves as before.
        let clients: Vec<UnixStream> = (0..300).map(|_| lab.client()).collect();
        drop(clients);
        eventually("it serves", || lab.ask("GET", "/_ping").ends_with("OK"));
        assert_eq!(lab.status()["state"], "running");
        lab.ok(&["stop", "--quit"]);
        lab.assert_clean();
    }

    fn c8_a_low_limit_of_processes_is_named_at_once_and_a_higher_one_is_enough() {
        let somebody = Somebody("54321");
        if !somebody.can_run(std::env::current_exe().unwrap().to_str().unwrap()) {
            return;
        }
        let lab = Lab::new();
        somebody.own(&lab);
        let with = |limit: u32| {
            let limit = format!("--nproc={limit}:{limit}");
            lab.through(&[&somebody.words()[..], &["prlimit", &limit]].concat(), &["start"]).spawn().unwrap()
        };
        for limit in [1, 2, 8, 9, 16, 32] {
            let said = fails(with(limit));
            assert!(said.stderr.contains("a machine needs 32: end other programs, or raise the limit"), "{limit}: {said:#?}");
            assert!(!said.stderr.contains("panicked"), "{limit}: {said:#?}");
        }
        assert_eq!((lab.machines(), lab.processes()), (0, vec![]), "nothing was begun");
        let said = ends_promptly(with(64));
        assert_eq!(said.code, Some(0), "{said:#?}");
        let stop = lab.through(&somebody.words(), &["stop", "--quit"]).spawn().unwrap();
        assert_eq!(ends_promptly(stop).code, Some(0));
        lab.assert_clean();
    }

    /// The program itself, with everything that it has but a processor.
    fn c8_a_forbidden_kvm_and_a_missing_qemu_are_named_at_once_with_their_cures() {
        let program = env!("CARGO_BIN_EXE_lighter");
        let somebody = Somebody("54323");
        if !somebody.can_run(program) || !can_mount() {
            return;
        }
        let lab = Lab::new();
        let there = std::path::Path::new("/dev/kvm").exists();
        std::fs::write(lab.image("forbidden"), "").unwrap();
        somebody.own(&lab);
        // In mounts of their own, which end with them. The file is root's, as the device is.
        let hide = "chown 0:0 \"$0\"; chmod 0600 \"$0\"; mount --bind \"$0\" /dev/kvm; exec \"$@\"";
        let hide = if there { hide } else { "exec \"$@\"" };
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-ec", hide]).arg(lab.image("forbidden")).args(somebody.words());
        command.args(["env", "PATH=/nonexistent", program, "start"]);
        command.env("LIGHTER_HOME", lab.home()).env("DOCKER_CONFIG", lab.docker());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let said = fails(command.spawn().unwrap());
        let kvm = if there { ["may not be opened by this user", "group kvm"] } else { ["does not exist", "firmware"] };
        let qemu = ["qemu-system-x86_64 is not in PATH", "apt install qemu-system-x86"];
        assert!(kvm.iter().chain(&qemu).all(|word| said.stderr.contains(word)), "{said:#?}");
        lab.assert_clean();
    }

    fn c2_a_call_that_wakes_a_machine_larger_than_the_free_memory_is_noted_in_the_log() {
        let text = std::fs::read_to_string("/proc/meminfo").unwrap();
        let gib = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.trim().trim_end_matches(" kB").parse::<f64>().unwrap() / f64::from(1 << 20)
        };
        let most = (gib("MemTotal:") * 10.0).floor() / 10.0;
        if gib("MemAvailable:") > most - 0.5 {
            println!("nearly all memory of this host is free, so no machine is too large for it");
            return;
        }
        let lab = Lab::new();
        lab.ok(&["start", "--asleep"]);
        std::fs::write(lab.profile().join("config.toml"), format!("memory = {most:.1}\n")).unwrap();
        lab.ask("GET", "/containers/json");
        assert_eq!(lab.machines(), 1);
        // The log's writer is behind the answer.
        let log = || std::fs::read_to_string(lab.profile().join("daemon.log")).unwrap();
        eventually("the log has the warning", || log().contains("GiB are free: give it less by `lighter start --memory N`"));
        lab.ok(&["stop", "--quit"]);
    }
}
