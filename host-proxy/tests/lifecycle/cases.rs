//! What must hold of the command line and the daemon, by the ids of the catalogue of bad input.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Instant;

use lighter::control::{Answer, Ask, Control};
use lighter::daemon::{Begin, Daemon};
use lighter::home::{Home, ProfileName};
use lighter::settings::Wishes;
use lighter::sys::endpoint::Inherited;

use crate::guest::StandIn;
use crate::lab::{Lab, end, eventually};

cases! {
    fn g17_a_hundred_starts_and_stops_leave_nothing() {
        let lab = Lab::new();
        for _ in 0..100 {
            lab.ok(&["start"]);
            lab.ok(&["stop", "--quit"]);
        }
        lab.assert_clean();
        assert_eq!(lab.machines(), 100);
        let meta = std::fs::metadata(lab.profile().join("daemon.log")).unwrap();
        assert!(meta.len() < 10 << 20, "the log has an end");
    }

    fn g17_a_hundred_lives_in_one_process_leave_no_descriptor() {
        let lab = Lab::new();
        let descriptors = || std::fs::read_dir("/proc/self/fd").unwrap().count();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let live = || {
            runtime.block_on(async {
                let profile = Home::at(lab.home()).unwrap().profile(ProfileName::new("default").unwrap());
                let socket = profile.control_socket();
                let daemon = Daemon::listen(profile, Begin::Awake(Wishes::default()), &mut Inherited::default(), Instant::now()).unwrap();
                let life = tokio::spawn(daemon.run(Arc::new(StandIn(lab.image("")))));
                for (ask, last) in [(Ask::Watch, "running"), (Ask::Stop { grace_seconds: 1, quit: true }, "stopped")] {
                    let mut control = Control::connect(&socket).await.unwrap().expect("it listens");
                    control.ask(&ask).await.unwrap();
                    loop {
                        match control.answer().await.unwrap() {
                            Answer::Stage(_) => (),
                            Answer::Status(status) => break assert_eq!(status.state.name(), last, "{status:?}"),
                            Answer::Stopped => break assert_eq!(last, "stopped"),
                            Answer::Ports { .. } => panic!("nobody asked for ports"),
                        }
                    }
                }
                life.await.unwrap().unwrap();
            });
        };
        // What the runtime opens once and keeps.
        live();
        let before = descriptors();
        (0..100).for_each(|_| live());
        assert_eq!(descriptors(), before);
        assert_eq!(lab.files(), ["console.log", "data.img", "known-answers.json"]);
    }

    fn another_user_gets_no_answer_even_if_the_modes_are_wide_open() {
        let id = Command::new("id").arg("-u").output().unwrap();
        if id.stdout != b"0\n" {
            println!("not root: nobody else can be asked");
            return;
        }
        let lab = Lab::new();
        lab.ok(&["start"]);
        for file in [lab.home(), &lab.profile(), lab.home().parent().unwrap()] {
            assert!(Command::new("chmod").arg("-R").arg("0777").arg(file).status().unwrap().success());
        }
        let ask = |uid: &str| {
            let script = "import socket,sys; s=socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); \
                s.sendall(b'GET /_ping HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n'); sys.stdout.write(s.recv(99).decode())";
            let socket = lab.profile().join("docker.sock");
            let mut command = Command::new("setpriv");
            command.args(["--reuid", uid, "--clear-groups", "python3", "-c", script]).arg(socket).output().unwrap()
        };
        assert!(String::from_utf8_lossy(&ask("0").stdout).starts_with("HTTP/1.1 200"));
        let refused = ask("65534");
        assert!(refused.stdout.is_empty(), "{refused:?}");
        lab.ok(&["stop", "--quit", "--force"]);
    }

    fn g17_two_starts_at_once_give_one_machine() {
        let lab = Lab::new();
        let starts: Vec<_> = (0..4).map(|_| lab.spawn(&["start"])).collect();
        for start in starts {
            let said = end(start);
            assert_eq!(said.code, Some(0), "{said:#?}");
        }
        assert_eq!((lab.machines(), lab.processes().len()), (1, 1));
        lab.ok(&["stop", "--quit"]);
        lab.assert_clean();
    }

    fn a_second_start_says_that_it_runs_and_a_second_stop_that_it_does_not() {
        let lab = Lab::new();
        assert_eq!(lab.status()["state"], "stopped");
        let first = lab.ok(&["start", "--json"]);
        let status: serde_json::Value = serde_json::from_str(&first.stdout).unwrap();
        assert_eq!(status["state"], "running");
        assert!(first.stderr.contains("dockerd is ready") && first.stderr.contains("docker ps"), "{first:#?}");
        let second = lab.ok(&["start"]);
        assert!(second.stderr.contains("already running"), "{second:#?}");
        assert_eq!(lab.machines(), 1);
        let status = lab.status();
        assert_eq!(status["engine"], "kvm");
        assert_eq!(status["versions"]["engine"], "26.1.5");
        assert_eq!(status["pid"].as_u64(), Some(u64::from(lab.processes()[0])));
        assert_eq!(status["docker_host"], format!("unix://{}", lab.profile().join("docker.sock").display()));
        assert!(lab.ok(&["list"]).stdout.contains("running"));
        lab.ok(&["stop", "--quit"]);
        assert!(lab.ok(&["stop", "--quit"]).stderr.contains("not running"));
        let status = lab.status();
        let fields: Vec<&String> = status.as_object().unwrap().keys().collect();
        assert_eq!(fields, ["arch", "context", "cpus", "disk_bytes", "docker_host", "engine", "memory_bytes", "pid", "profile", "reason", "state", "versions"]);
        assert_eq!(status["state"], "stopped");
    }

    fn c5_after_kill_9_the_next_start_works_by_itself() {
        let lab = Lab::new();
        for _ in 0..5 {
            lab.ok(&["start"]);
            let pid = lab.status()["pid"].to_string();
            assert!(Command::new("kill").args(["-9", &pid]).status().unwrap().success());
            eventually("the daemon is dead", || lab.processes().is_empty());
            assert!(lab.profile().join("docker.sock").exists(), "a stale socket is what this is about");
            // The kernel closes the sockets of a process in its own time.
            eventually("nobody listens", || {
                let status = lab.status();
                assert_ne!(status["state"], "broken", "{status}");
                status["state"] == "stopped"
            });
        }
        lab.ok(&["start"]);
        lab.ok(&["stop", "--quit"]);
        lab.assert_clean();
    }

    fn c5_stop_during_start_ends_both() {
        let lab = Lab::new();
        for mode in ["silent", "gate"] {
            lab.mode(mode);
            let start = lab.spawn(&["start"]);
            eventually("it is starting", || lab.machines() > 0 && lab.status()["state"] == "starting");
            lab.ok(&["stop", "--quit"]);
            let said = end(start);
            assert_eq!(said.code, Some(1));
            assert!(said.stderr.contains("stopped while it was starting"), "{said:#?}");
            lab.assert_clean();
        }
    }

    fn x3_ctrl_c_takes_the_start_back() {
        let lab = Lab::new();
        lab.mode("silent");
        let start = lab.spawn(&["start"]);
        eventually("it is starting", || lab.machines() > 0 && lab.status()["state"] == "starting");
        assert!(Command::new("kill").args(["-INT", &start.id().to_string()]).status().unwrap().success());
        assert_eq!(end(start).code, Some(130));
        lab.assert_clean();
    }

    fn x3_sigterm_shuts_down_and_a_second_one_does_not_wait() {
        let lab = Lab::new();
        for mode in ["", "deaf"] {
            lab.mode(mode);
            lab.ok(&["start"]);
            let pid = lab.status()["pid"].to_string();
            eventually("it has gone", || {
                let _ = Command::new("kill").args(["-TERM", &pid]).stderr(Stdio::null()).status();
                lab.processes().is_empty()
            });
            lab.assert_clean();
        }
    }

    fn a_foreground_start_ends_with_ctrl_c_and_leaves_nothing() {
        let lab = Lab::new();
        let start = lab.spawn(&["start", "--foreground"]);
        eventually("it runs", || lab.status()["state"] == "running");
        assert_eq!(lab.status()["pid"].as_u64(), Some(u64::from(start.id())));
        assert!(Command::new("kill").args(["-INT", &start.id().to_string()]).status().unwrap().success());
        let said = end(start);
        assert_eq!(said.code, Some(0), "{said:#?}");
        assert!(said.stderr.contains("lighter is running"), "{said:#?}");
        let known = |name: &String| !name.contains("sock") && !name.contains("lock");
        assert!(lab.files().iter().all(known), "{:?}", lab.files());
    }

    fn a_guest_that_does_not_follow_is_switched_off_by_force() {
        let lab = Lab::new();
        lab.mode("deaf");
        lab.ok(&["start"]);
        lab.ok(&["stop", "--quit", "--force"]);
        lab.assert_clean();
    }

    fn a_failed_start_names_its_cause_and_leaves_nothing() {
        let lab = Lab::new();
        for (mode, words) in [
            ("panic", &["crashed or reset", "no init"][..]),
            ("fails", &["failed at data", "LUKS volume", "never formatted"]),
            ("no-engine", &["/dev/kvm is missing", "apt install qemu-system-x86"]),
        ] {
            lab.mode(mode);
            let said = lab.fails(&["start"]);
            assert!(words.iter().all(|word| said.stderr.contains(word)), "{words:?}: {said:#?}");
            assert!(!said.stderr.contains('\x1b'), "no escape code of the guest: {said:#?}");
            lab.assert_clean();
        }
        lab.mode("");
        std::fs::remove_file(lab.image("root")).unwrap();
        let said = lab.fails(&["start"]);
        assert!(said.stderr.contains("root is missing"), "{said:#?}");
        lab.assert_clean();
    }

    fn a2_a_caller_without_the_secret_is_not_the_agent() {
        let lab = Lab::new();
        lab.mode("liar");
        lab.ok(&["start"]);
        lab.ok(&["stop", "--quit"]);
        lab.assert_clean();
    }

    fn a_crashed_machine_is_broken_with_a_reason_and_the_next_start_replaces_it() {
        let lab = Lab::new();
        lab.mode("mortal");
        lab.ok(&["start"]);
        std::fs::write(lab.image("crash"), "").unwrap();
        eventually("it is broken", || lab.status()["state"] == "broken");
        let reason = lab.status()["reason"].to_string();
        assert!(reason.contains("crashed or reset") && reason.contains("lighter start"), "{reason}");
        lab.mode("");
        lab.ok(&["start"]);
        assert_eq!((lab.machines(), lab.processes().len()), (2, 1));
        lab.ok(&["stop", "--quit"]);
        lab.assert_clean();
    }

    fn x5_a_host_without_space_is_told_by_status_while_the_machine_runs() {
        let lab = Lab::new();
        lab.mode("full");
        lab.ok(&["start"]);
        eventually("the reason", || lab.status()["reason"] == "The host has no space left");
        assert_eq!(lab.status()["state"], "running");
        lab.ok(&["stop", "--quit"]);
        assert_ne!(lab.status()["reason"], "The host has no space left");
        lab.assert_clean();
    }

    fn x5_a_machine_that_is_switched_off_without_space_says_what_is_lost() {
        let lab = Lab::new();
        lab.mode("full");
        lab.ok(&["start"]);
        let said = lab.lighter(&["stop", "--force"]);
        assert!(said.code == Some(0), "{said:#?}");
        assert!(said.stderr.contains("could not write is lost: The host has no space left"), "{said:#?}");
        lab.ok(&["stop", "--quit"]);
        lab.assert_clean();
    }

    fn the_first_request_waits_for_a_machine_that_starts() {
        let lab = Lab::new();
        lab.mode("gate");
        let start = lab.spawn(&["start"]);
        eventually("it listens", || lab.profile().join("docker.sock").exists());
        let mut client = UnixStream::connect(lab.profile().join("docker.sock")).unwrap();
        client.write_all(b"GET /_ping HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        eventually("the guest boots", || lab.machines() == 1);
        std::fs::write(lab.image("open"), "").unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("OK"), "{answer}");
        assert_eq!(end(start).code, Some(0));
        lab.ok(&["stop", "--quit"]);
    }

    fn c9_without_home_and_with_odd_variables_it_says_what_to_set() {
        let lab = Lab::new();
        let said = end(lab.command(&["status"]).env("LIGHTER_HOME", "").env("HOME", "/nonexistent").spawn().unwrap());
        assert_eq!(said.code, Some(0), "{said:#?}");
        let mut start = lab.command(&["start"]);
        let said = end(start.env("DOCKER_HOST", "tcp://127.0.0.1:1").spawn().unwrap());
        assert_eq!(said.code, Some(0), "{said:#?}");
        assert!(said.stderr.contains("DOCKER_HOST=tcp://127.0.0.1:1 is set"), "{said:#?}");
        lab.ok(&["stop", "--quit"]);
    }

    fn the_timeline_has_every_stage_and_the_exits() {
        let lab = Lab::new();
        let file = lab.image("timeline.json");
        let said = end(lab.command(&["start"]).env("LIGHTER_TIMELINE", &file).spawn().unwrap());
        assert_eq!(said.code, Some(0), "{said:#?}");
        let timeline: serde_json::Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
        let names: Vec<&str> = timeline["stages"].as_array().unwrap().iter().filter_map(|stage| stage["name"].as_str()).collect();
        for name in ["image", "machine", "boot", "agent", "pid1", "containerd", "dockerd", "ready", "ping"] {
            assert!(names.contains(&name), "{name} is not in {names:?}");
        }
        assert_eq!(timeline["exits"]["hlt"], 7);
        lab.ok(&["stop", "--quit"]);
    }
}
