//! What must hold of a daemon that is asleep and of the calls that wake it: who gets which answer, how many machines there
//! are. What stays behind of it is in `leftovers`.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixListener;
use std::process::{Command, Stdio};

use crate::lab::{Lab, docker_is_here, end, eventually};

pub const LIST: &str = "/v1.45/containers/json";

/// The stand-in's dockerd knows no containers, which only a running one says.
pub fn served(answer: &str) -> bool {
    answer.starts_with("HTTP/1.1 404") && answer.contains("page not found")
}

pub fn stopped(lab: &Lab) -> bool {
    lab.status()["state"] == "stopped"
}

cases! {
    fn after_a_stop_the_endpoint_stays_and_the_next_call_gets_its_answer_from_a_new_machine() {
        let lab = Lab::new();
        lab.ok(&["start"]);
        let before = lab.status();
        let said = lab.ok(&["stop"]);
        assert!(said.stderr.contains("the next docker command starts it again"), "{said:#?}");
        let asleep = lab.status();
        assert_eq!(asleep["state"], "stopped");
        for same in ["docker_host", "pid", "cpus", "memory_bytes"] {
            assert_eq!(asleep[same], before[same], "{same}");
        }
        assert!(asleep["engine"].is_null() && asleep["reason"].is_null(), "{asleep}");
        assert!(lab.ok(&["stop"]).stderr.contains("not running"));
        assert!(served(&lab.ask("GET", LIST)));
        let awake = lab.status();
        assert_eq!((awake["state"].as_str(), awake["pid"].clone()), (Some("running"), before["pid"].clone()));
        assert_eq!((lab.machines(), lab.processes().len()), (2, 1));
        lab.ok(&["stop", "--quit"]);
        lab.assert_clean();
        let said = lab.lighter(&["shell", "true"]);
        assert!(said.code == Some(1) && said.stderr.contains("lighter start"), "{said:#?}");
    }

    fn a_program_that_only_pings_never_wakes_and_hears_what_dockerd_would_say() {
        let lab = Lab::new();
        lab.ok(&["start"]);
        let questions = [("GET", "/_ping"), ("HEAD", "/_ping"), ("GET", "/version"), ("GET", "/v1.44/version")];
        let awake = questions.map(|(method, path)| lab.ask(method, path));
        assert!(awake[0].ends_with("\r\n\r\nOK") && awake[1].ends_with("\r\n\r\n"), "{awake:?}");
        lab.ok(&["stop"]);
        let dateless = |answers: &[String]| -> Vec<String> {
            answers.iter().map(|answer| answer.replace("Connection: close\r\n", "")).collect()
        };
        for _ in 0..20 {
            let asleep = questions.map(|(method, path)| lab.ask(method, path));
            assert_eq!(dateless(&asleep), dateless(&awake));
        }
        // Also on a connection that is kept, and with the next request close behind.
        let mut client = lab.client();
        client.write_all("HEAD /_ping HTTP/1.1\r\nHost: x\r\n\r\n".repeat(3).as_bytes()).unwrap();
        let mut lines = BufReader::new(client).lines();
        let heads = lines.by_ref().map(|line| line.unwrap()).filter(|line| line == "HTTP/1.1 200 OK").take(3);
        assert_eq!(heads.count(), 3);
        assert!(stopped(&lab));
        // The next daemon knows it too, and one that knows nothing has to ask.
        lab.ok(&["stop", "--quit"]);
        lab.ok(&["start", "--asleep"]);
        assert_eq!(dateless(&[lab.ask("GET", "/_ping")]), dateless(&awake[..1]));
        assert_eq!(lab.machines(), 1);
        lab.ok(&["stop", "--quit"]);
        std::fs::write(lab.profile().join("known-answers.json"), "{").unwrap();
        lab.ok(&["start", "--asleep"]);
        assert!(stopped(&lab));
        assert!(lab.ask("GET", "/_ping").ends_with("OK"));
        assert_eq!((lab.status()["state"].as_str(), lab.machines()), (Some("running"), 2));
    }

    fn a_user_who_wants_every_call_to_wake_gets_that() {
        let lab = Lab::new();
        lab.ok(&["start"]);
        lab.ok(&["stop"]);
        assert!(lab.ask("GET", "/_ping").ends_with("OK") && stopped(&lab));
        let config = lab.profile().join("config.toml");
        std::fs::write(&config, "answer_while_stopped = false\n").unwrap();
        assert!(lab.ask("GET", "/_ping").ends_with("OK"));
        assert_eq!((lab.status()["state"].as_str(), lab.machines()), (Some("running"), 2));
        lab.ok(&["restart", "-c", "1"]);
        assert!(std::fs::read_to_string(&config).unwrap().contains("answer_while_stopped = false"));
    }

    fn many_calls_at_once_wake_one_machine_and_each_gets_its_answer() {
        let lab = Lab::new();
        lab.ok(&["start", "--asleep"]);
        lab.mode("gate");
        std::thread::scope(|scope| {
            let calls: Vec<_> = (0..20).map(|_| scope.spawn(|| lab.ask("GET", LIST))).collect();
            eventually("the guest boots", || lab.machines() == 1);
            let start = lab.spawn(&["start"]);
            std::fs::write(lab.image("open"), "").unwrap();
            assert!(calls.into_iter().all(|call| served(&call.join().unwrap())));
            assert_eq!(end(start).code, Some(0));
        });
        assert_eq!((lab.machines(), lab.processes().len()), (1, 1));
    }

    fn a_start_of_a_sleeping_machine_takes_its_flags_and_another_wakes_with_the_settings_of_that_time() {
        let lab = Lab::new();
        lab.ok(&["start", "--asleep", "-c", "1", "-m", "1"]);
        assert_eq!((lab.status()["cpus"].as_u64(), lab.machines()), (Some(1), 0));
        lab.ok(&["start", "-m", "1.5"]);
        let size = |lab: &Lab| (lab.status()["cpus"].as_u64(), lab.status()["memory_bytes"].as_u64());
        assert_eq!(size(&lab), (Some(1), Some(3 << 29)));
        lab.ok(&["stop"]);
        let config = lab.profile().join("config.toml");
        let text = std::fs::read_to_string(&config).unwrap();
        std::fs::write(&config, text.replace("memory = 1.5", "memory = 0.5")).unwrap();
        assert_eq!(size(&lab), (Some(1), Some(1 << 29)), "the size of the next machine");
        assert!(served(&lab.ask("GET", LIST)));
        assert_eq!(size(&lab), (Some(1), Some(1 << 29)));
        let pid = lab.status()["pid"].clone();
        lab.ok(&["restart", "-m", "1"]);
        assert_eq!((size(&lab), lab.status()["pid"].clone()), ((Some(1), Some(1 << 30)), pid));
        lab.ok(&["stop"]);
        std::fs::write(&config, "memory = 'much'\n").unwrap();
        let answer = lab.ask("GET", LIST);
        assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("expected a number of GiB"), "{answer}");
    }

    fn a_wake_that_fails_names_its_cause_and_calls_try_again_but_not_without_end() {
        let lab = Lab::new();
        lab.ok(&["start", "--asleep"]);
        lab.mode("fails");
        let message = |answer: &str| -> String {
            assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
            let body = answer.split_once("\r\n\r\n").unwrap().1;
            serde_json::from_str::<serde_json::Value>(body).unwrap()["message"].as_str().unwrap().to_owned()
        };
        let first = message(&lab.ask("GET", LIST));
        assert!(first.contains("failed at data") && first.contains("never formatted"), "{first}");
        assert_eq!((lab.status()["state"].as_str(), lab.machines()), (Some("broken"), 1));
        message(&lab.ask("GET", LIST));
        assert_eq!(lab.machines(), 2, "the next call tries again");
        for _ in 0..50 {
            let refused = message(&lab.ask("GET", LIST));
            assert!(refused.contains("never formatted") && refused.contains("failure 2 in a row"), "{refused}");
        }
        assert_eq!(lab.machines(), 2, "a program that does not give up boots nothing");
        let said = lab.lighter(&["start"]);
        assert!(said.code == Some(1) && said.stderr.contains("never formatted"), "{said:#?}");
        assert_eq!((lab.machines(), lab.processes().len()), (3, 1), "a person is not held up, and the endpoint stays");
        lab.mode("");
        lab.ok(&["stop"]);
        assert!(stopped(&lab));
        assert!(served(&lab.ask("GET", LIST)), "after a stop nothing is held against the next call");
        lab.ok(&["stop", "--quit"]);
        lab.assert_clean();
    }

    fn a_guest_that_dies_ends_every_stream_and_the_next_call_boots_another() {
        let lab = Lab::new();
        lab.mode("mortal");
        lab.ok(&["start"]);
        let streams: Vec<_> = (0..5).map(|_| lab.client()).collect();
        for mut client in &streams {
            client.write_all(b"GET /events HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
            assert_eq!(client.read(&mut [0; 12]).unwrap(), 12);
        }
        std::fs::write(lab.image("crash"), "").unwrap();
        for mut client in streams {
            // An end, in order or not; a read that never returns would be the defect.
            let _ = client.read_to_end(&mut Vec::new());
        }
        eventually("it is broken", || lab.status()["state"] == "broken");
        assert!(lab.ask("GET", "/_ping").ends_with("OK"));
        assert_eq!((lab.status()["state"].as_str(), lab.machines()), (Some("broken"), 1), "a ping wakes nobody here too");
        lab.mode("");
        assert!(served(&lab.ask("GET", LIST)));
        assert_eq!((lab.status()["state"].as_str(), lab.machines()), (Some("running"), 2));
        assert!(lab.status()["reason"].is_null());
        lab.ok(&["stop", "--quit"]);
        lab.assert_clean();
    }

    fn a_call_while_it_stops_waits_for_the_end_and_wakes_and_a_stop_while_it_wakes_stops() {
        let lab = Lab::new();
        lab.mode("slow");
        lab.ok(&["start"]);
        let stop = lab.spawn(&["stop"]);
        eventually("it stops", || lab.status()["state"] == "stopping");
        std::thread::scope(|scope| {
            let call = scope.spawn(|| lab.ask("GET", LIST));
            assert!(lab.ask("GET", "/_ping").ends_with("OK"), "a ping does not wait");
            assert_eq!(lab.machines(), 1);
            std::fs::write(lab.image("off"), "").unwrap();
            assert!(served(&call.join().unwrap()));
        });
        assert_eq!(end(stop).code, Some(0));
        assert_eq!(lab.machines(), 2);
        lab.ok(&["stop"]);
        // A call that waits for a start which somebody stops must not start it again.
        lab.mode("silent");
        std::thread::scope(|scope| {
            let call = scope.spawn(|| lab.ask("GET", LIST));
            eventually("it starts", || lab.machines() == 3 && lab.status()["state"] == "starting");
            lab.ok(&["stop"]);
            let answer = call.join().unwrap();
            assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("stopped while it was starting"), "{answer}");
        });
        assert!(stopped(&lab) && lab.machines() == 3);
        // A start while it stops: the user's last word counts.
        lab.mode("slow");
        std::fs::remove_file(lab.image("off")).unwrap();
        lab.ok(&["start"]);
        let stop = lab.spawn(&["stop"]);
        eventually("it stops", || lab.status()["state"] == "stopping");
        let start = lab.spawn(&["start"]);
        std::fs::write(lab.image("off"), "").unwrap();
        assert_eq!((end(stop).code, end(start).code), (Some(0), Some(0)));
        assert_eq!((lab.status()["state"].as_str(), lab.machines()), (Some("running"), 5));
    }

    fn c5_stop_during_start_leaves_the_endpoint_and_quit_during_stop_takes_it() {
        let lab = Lab::new();
        lab.mode("gate");
        let start = lab.spawn(&["start"]);
        eventually("it is starting", || lab.machines() > 0 && lab.status()["state"] == "starting");
        lab.ok(&["stop"]);
        assert!(end(start).stderr.contains("stopped while it was starting"));
        assert!(stopped(&lab) && lab.profile().join("docker.sock").exists());
        lab.mode("slow");
        lab.ok(&["start"]);
        let stop = lab.spawn(&["stop"]);
        eventually("it stops", || lab.status()["state"] == "stopping");
        let quit = lab.spawn(&["stop", "--quit"]);
        std::fs::write(lab.image("off"), "").unwrap();
        assert_eq!((end(stop).code, end(quit).code), (Some(0), Some(0)));
        lab.assert_clean();
    }

    fn a_service_managers_sockets_are_used_and_stay_its_own() {
        let lab = Lab::new();
        std::fs::create_dir_all(lab.profile()).unwrap();
        assert!(Command::new("chmod").args(["-R", "0700"]).arg(lab.home()).status().unwrap().success());
        let paths = ["docker.sock", "control.sock"].map(|name| lab.profile().join(name));
        let sockets = paths.each_ref().map(|path| UnixListener::bind(path).unwrap());
        let inodes = || paths.each_ref().map(|path| std::fs::symlink_metadata(path).unwrap().ino());
        let before = inodes();
        // Whoever calls before the daemon is there waits for it.
        let mut early = lab.client();
        early.write_all(format!("GET {LIST} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes()).unwrap();
        let activated = |pid: &str| {
            let [docker, control] =
                sockets.each_ref().map(|socket| Stdio::from(std::os::fd::OwnedFd::from(socket.try_clone().unwrap())));
            // In the unit's order; one that names no descriptors has both named after itself.
            let names = "LISTEN_FDS=2 LISTEN_FDNAMES=lighter.socket:lighter.socket";
            let script = format!(
                "exec 3<&0 4<&2 </dev/null 2>\"$1\"; {names} LISTEN_PID={pid} exec \"$0\" daemon --asleep"
            );
            let mut shell = lab.command(&[]);
            let program = shell.get_program().to_owned();
            let mut command = Command::new("sh");
            command.arg("-c").arg(script).arg(program).arg(lab.image("said"));
            command.stdin(docker).stdout(Stdio::piped()).stderr(control);
            for (name, value) in shell.env_remove("none").get_envs() {
                match value {
                    Some(value) => command.env(name, value),
                    None => command.env_remove(name),
                };
            }
            command.spawn().unwrap()
        };
        let daemon = activated("$$");
        let mut answer = String::new();
        early.read_to_string(&mut answer).unwrap();
        assert!(served(&answer), "{answer}");
        assert_eq!(lab.status()["pid"].as_u64(), Some(u64::from(daemon.id())));
        assert_eq!(inodes(), before, "the daemon made a socket of its own in place of one that it was given");
        lab.ok(&["stop", "--quit"]);
        let said = end(daemon);
        let log = std::fs::read_to_string(lab.image("said")).unwrap();
        assert_eq!((said.code, said.stdout.as_str()), (Some(0), "listening\n"), "{log}");
        assert_eq!(inodes(), before, "the service manager's sockets are not ours to remove");
        // Sockets that are meant for another process are not touched. The manager has taken its control socket away, as it
        // does for `stop --quit`: where it still listened, nobody would answer.
        std::fs::remove_file(&paths[1]).unwrap();
        let other = activated("1");
        eventually("it listens", || lab.status()["pid"].as_u64() == Some(u64::from(other.id())));
        assert!(served(&lab.ask("GET", LIST)));
        assert!(inodes().iter().zip(before).all(|(now, before)| *now != before), "it took what was not meant for it");
        drop(sockets);
        lab.ok(&["stop", "--quit"]);
        assert_eq!(end(other).code, Some(0));
        lab.assert_clean();
    }

    fn the_docker_cli_wakes_by_what_needs_a_machine_and_by_nothing_else() {
        if !docker_is_here() {
            return;
        }
        let lab = Lab::new();
        lab.ok(&["start"]);
        lab.ok(&["stop"]);
        let docker = |args: &[&str]| {
            Command::new("docker").args(args).env("DOCKER_CONFIG", lab.docker()).env_remove("DOCKER_HOST").output().unwrap()
        };
        let version = docker(&["version", "--format", "{{.Server.Version}}"]);
        assert_eq!(String::from_utf8_lossy(&version.stdout).trim(), "26.1.5", "{version:?}");
        assert!(stopped(&lab) && lab.machines() == 1);
        assert!(String::from_utf8_lossy(&docker(&["ps"]).stderr).contains("page not found"));
        assert_eq!(lab.machines(), 2);
    }
}
