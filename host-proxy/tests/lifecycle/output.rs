//! What the verbs print, as people and scripts read it: doctor, disk, list, logs, context, completion, help.

use std::process::Command;

use serde_json::Value;

use crate::lab::{Lab, Said, docker_is_here};

/// Runs it with an environment in which no engine but the lab's can be found.
fn alone(lab: &Lab, args: &[&str], variables: &[(&str, &str)]) -> Said {
    let home = lab.home().parent().unwrap().join("user");
    std::fs::create_dir_all(&home).unwrap();
    let mut command = lab.command(args);
    command
        .env("HOME", &home)
        .env_remove("XDG_RUNTIME_DIR")
        .env_remove("DOCKER_API_VERSION")
        .env_remove("BUILDX_BUILDER");
    for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"] {
        command.env_remove(name);
    }
    command.envs(variables.iter().copied());
    crate::lab::end(command.spawn().unwrap())
}

fn doctor(lab: &Lab, variables: &[(&str, &str)]) -> (Option<i32>, Value) {
    let said = alone(lab, &["doctor", "--json"], variables);
    (said.code, serde_json::from_str(&said.stdout).unwrap_or_else(|error| panic!("{error}: {said:#?}")))
}

fn finding<'a>(report: &'a Value, id: &str) -> Option<&'a Value> {
    report["findings"].as_array().unwrap().iter().find(|finding| finding["id"] == id)
}

cases! {
    fn doctor_tells_a_machine_that_is_off_from_one_that_sleeps_runs_or_was_killed_and_wakes_none() {
        let lab = Lab::new();
        let (_, report) = doctor(&lab, &[]);
        assert!(finding(&report, "not-running").is_some(), "{report:#}");
        assert!(!lab.profile().exists(), "nothing is made by looking");
        lab.ok(&["start"]);
        let (_, report) = doctor(&lab, &[]);
        for id in ["not-running", "daemon-silent", "left-over-files", "socket-gone", "api-silent", "two-daemons", "context-missing"] {
            assert!(finding(&report, id).is_none(), "{report:#}");
        }
        assert_eq!(report["ways"][0]["ours"], true, "{report:#}");
        lab.ok(&["stop"]);
        let (_, report) = doctor(&lab, &[]);
        assert!(finding(&report, "not-running").is_none(), "{report:#}");
        assert!(alone(&lab, &["doctor"], &[]).stdout.contains("asleep"));
        assert_eq!(lab.status()["state"], "stopped");
        assert_eq!(lab.machines(), 1, "nobody was woken");
        lab.signal("-KILL");
        crate::lab::eventually("it is dead", || lab.processes().is_empty());
        let (_, report) = doctor(&lab, &[]);
        assert!(finding(&report, "left-over-files").is_some(), "{report:#}");
        lab.ok(&["start"]);
        lab.ok(&["stop", "--quit"]);
        lab.assert_clean();
    }

    fn doctor_names_what_leads_elsewhere_and_exits_1_only_if_something_is_wrong() {
        let lab = Lab::new();
        lab.ok(&["start"]);
        let (code, report) = doctor(&lab, &[("DOCKER_HOST", "unix:///nonexistent/docker.sock")]);
        let found = finding(&report, "docker-host").unwrap();
        assert_eq!((code, &found["level"], &found["cure"]), (Some(1), &"wrong".into(), &"unset DOCKER_HOST".into()));
        let (code, report) = doctor(&lab, &[]);
        let wrong = report["findings"].as_array().unwrap().iter().any(|finding| finding["level"] == "wrong");
        assert_eq!((code, report["ok"].as_bool()), (Some(i32::from(wrong)), Some(!wrong)), "{report:#}");
        let page = alone(&lab, &["doctor"], &[("DOCKER_CONTEXT", "gone")]);
        assert!(page.stdout.contains("no context `gone`") && page.stdout.contains("→ unset DOCKER_CONTEXT"), "{page:#?}");
        assert!(!page.stdout.contains('\x1b'), "no colours without a terminal");
        lab.ok(&["stop", "--quit"]);
    }

    fn a_credential_helper_left_behind_is_found_and_dropped_and_nothing_else_changes() {
        let lab = Lab::new();
        std::fs::create_dir_all(lab.docker()).unwrap();
        let config = lab.docker().join("config.json");
        std::fs::write(&config, "{\n\t\"auths\": {},\n\t\"credsStore\": \"not-installed-anywhere\"\n}\n").unwrap();
        let (code, report) = doctor(&lab, &[]);
        let found = finding(&report, "credential-helper").unwrap();
        assert_eq!((code, &found["cure"]), (Some(1), &"lighter context drop-helper".into()));
        assert!(lab.ok(&["context", "drop-helper"]).stderr.contains("docker-credential-not-installed-anywhere"));
        assert_eq!(std::fs::read_to_string(&config).unwrap(), "{\n\t\"auths\": {}\n}\n");
        assert!(finding(&doctor(&lab, &[]).1, "credential-helper").is_none());
    }

    fn disk_shows_what_is_known_and_trims_only_a_machine_that_runs() {
        let lab = Lab::new();
        assert!(lab.ok(&["disk"]).stderr.contains("lighter start"));
        let disk = |args: &[&str]| -> Value { serde_json::from_str(&lab.ok(args).stdout).unwrap() };
        assert_eq!(disk(&["disk", "--json"])["limit_bytes"], Value::Null);
        lab.ok(&["start", "-d", "2"]);
        let running = disk(&["disk", "--json"]);
        assert_eq!(running["limit_bytes"], 2_u64 << 30);
        assert!(running["allocated_bytes"].is_u64() && running["host_free_bytes"].is_u64(), "{running}");
        assert_eq!(disk(&["disk", "trim", "--json"])["given_back_bytes"], 0);
        lab.ok(&["stop"]);
        assert_eq!(disk(&["disk", "--json"])["guest_used_bytes"], Value::Null);
        let said = lab.lighter(&["disk", "trim"]);
        assert!(said.code == Some(1) && said.stderr.contains("not running: `lighter start` starts it"), "{said:#?}");
        assert_eq!(lab.machines(), 1, "nobody was woken");
        lab.ok(&["stop", "--quit"]);
    }

    fn lists_and_logs_are_tables_for_people_and_lines_of_json_for_scripts() {
        let lab = Lab::new();
        lab.ok(&["start", "-c", "1", "-m", "1.5", "-d", "2"]);
        let table = lab.ok(&["list"]).stdout;
        let words: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(words[0], ["PROFILE", "STATUS", "ENGINE", "CPUS", "MEMORY", "DISK", "DOCKER", "HOST"]);
        assert_eq!(words[1][..8], ["default", "running", "kvm", "1", "1.5", "GiB", "2", "GiB"]);
        let listed: Value = serde_json::from_str(&lab.ok(&["list", "--json"]).stdout).unwrap();
        assert_eq!(listed, lab.status());
        let lines = lab.ok(&["logs", "--json", "--tail", "3"]).stdout;
        let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 3);
        assert!(lines.iter().all(|line| line["source"] == "daemon" && line["line"].is_string()), "{lines:?}");
        let guest = lab.ok(&["logs", "dockerd", "--json", "--tail", "3"]).stdout;
        assert_eq!(guest, "{\"line\":\"Dockerd Some(3)\",\"source\":\"dockerd\"}\n");
        lab.ok(&["stop", "--quit"]);
    }

    fn completion_knows_the_profiles() {
        let lab = Lab::new();
        for name in ["work", "web", "default"] {
            std::fs::create_dir_all(lab.home().join(name)).unwrap();
        }
        let mut command = lab.command(&["--", "lighter", "status", "-p", "w"]);
        command.env("LIGHTER_COMPLETE", "bash").env("_CLAP_COMPLETE_INDEX", "3").env("_CLAP_IFS", " ");
        let said = crate::lab::end(command.spawn().unwrap());
        let mut names: Vec<&str> = said.stdout.split_whitespace().collect();
        names.sort_unstable();
        assert_eq!(names, ["web", "work"], "{said:#?}");
    }

    fn bash_completes_a_profile_with_the_script_that_is_printed() {
        let bash = Command::new("bash").arg("--version").output().is_ok_and(|output| output.status.success());
        if !bash {
            println!("no bash here");
            return;
        }
        let lab = Lab::new();
        std::fs::create_dir_all(lab.home().join("work")).unwrap();
        let script = lab.ok(&["completion", "bash"]).stdout;
        let ask = "COMP_WORDS=(lighter status -p wo); COMP_CWORD=3; COMP_TYPE=9; \
            _clap_complete_lighter lighter wo -p; printf '%s' \"${COMPREPLY[*]}\"";
        let mut command = Command::new("bash");
        command.args(["-c", &format!("{script}\n{ask}")]).env(crate::lab::STAND_IN, lab.image("")).env("LIGHTER_HOME", lab.home());
        let output = command.output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), "work", "{output:?}");
    }

    fn help_teaches_and_errors_of_usage_exit_2() {
        let lab = Lab::new();
        let help = lab.ok(&["help"]).stdout;
        for words in ["The first three commands", "lighter start", "docker run", "~/.lighter/default/docker.sock", "doctor"] {
            assert!(help.contains(words), "{words:?} is not in\n{help}");
        }
        assert!(lab.ok(&["help", "context", "claim-socket"]).stdout.contains("/var/run/docker.sock"));
        for wrong in [&["help", "frobnicate"][..], &["disk", "frobnicate"], &[]] {
            assert_eq!(lab.lighter(wrong).code, Some(2), "{wrong:?}");
        }
    }

    fn the_docker_cli_agrees_with_doctor_about_where_it_goes() {
        if !docker_is_here() {
            return;
        }
        let lab = Lab::new();
        lab.ok(&["start", "--activate=false"]);
        let create = ["context", "create", "other", "--docker", "host=unix:///nonexistent/other.sock"];
        assert!(Command::new("docker").args(create).env("DOCKER_CONFIG", lab.docker()).output().unwrap().status.success());
        for variables in [
            &[][..],
            &[("DOCKER_CONTEXT", "other")],
            &[("DOCKER_HOST", "unix:///nonexistent/host.sock"), ("DOCKER_CONTEXT", "other")],
        ] {
            let (_, report) = doctor(&lab, variables);
            let endpoint = report["ways"][0]["endpoint"].as_str().unwrap().to_owned();
            let mut docker = Command::new("docker");
            docker.args(["context", "inspect", "--format", "{{.Endpoints.docker.Host}}"]);
            docker.env("DOCKER_CONFIG", lab.docker()).env_remove("DOCKER_HOST").env_remove("DOCKER_CONTEXT");
            let output = docker.envs(variables.iter().copied()).output().unwrap();
            assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), endpoint, "{variables:?}");
        }
        lab.ok(&["stop", "--quit"]);
    }
}
