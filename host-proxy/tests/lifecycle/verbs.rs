//! What must hold of single verbs and their flags: what they keep, refuse, print and pass on, and what they do to docker's own
//! contexts.

use std::process::Command;

use crate::lab::{Lab, docker_is_here};

cases! {
    fn flags_are_kept_checked_and_told_when_they_come_too_late() {
        let lab = Lab::new();
        lab.ok(&["start", "-c", "1", "-m", "1.5", "-d", "2", "--engine", "kvm"]);
        let status = lab.status();
        assert_eq!((status["cpus"].as_u64(), status["memory_bytes"].as_u64()), (Some(1), Some(3 << 29)));
        let late = lab.ok(&["start", "-m", "1"]);
        assert!(late.stderr.contains("lighter restart"), "{late:#?}");
        lab.ok(&["restart"]);
        assert_eq!(lab.status()["memory_bytes"].as_u64(), Some(1 << 30));
        lab.ok(&["stop", "--quit"]);
        let said = lab.lighter(&["start", "-d", "1"]);
        assert!(said.code == Some(1) && said.stderr.contains("never shrinks"), "{said:#?}");
        let said = lab.lighter(&["start", "-c", "-1"]);
        assert!(said.code == Some(1) && said.stderr.contains("cpus cannot be -1"), "{said:#?}");
        // The stand-in has every engine; this build for this system has not, and a kept one would fail every start.
        let said = lab.lighter(&["start", "--engine", "hvf"]);
        assert!(said.code == Some(1) && said.stderr.contains("lighter start --engine auto"), "{said:#?}");
        for usage in [&["start", "--mount", ""][..], &["start", "-m", "8 GB"], &["start", "--engine", "qemu"], &["frobnicate"]] {
            assert_eq!(lab.lighter(usage).code, Some(2), "{usage:?}");
        }
        let config = std::fs::read_to_string(lab.profile().join("config.toml")).unwrap();
        assert!(config.contains("memory = 1\n") && config.contains("disk = 2\n") && config.contains("engine = \"kvm\"\n"), "a refused flag is not kept: {config}");
    }

    fn profile_names_are_checked_and_profiles_live_side_by_side() {
        let lab = Lab::new();
        for name in ["", ".", "..", "a/b", "A", "-a", "a-", "a b", "nul", "com1.x", "ä", &"x".repeat(41)] {
            let said = lab.lighter(&["status", &format!("--profile={name}")]);
            assert_eq!(said.code, Some(1), "{name:?}: {said:#?}");
        }
        lab.ok(&["start"]);
        lab.ok(&["start", "-p", "work"]);
        assert_eq!(lab.processes().len(), 2);
        assert_eq!(lab.ok(&["list", "--json"]).stdout.lines().count(), 2);
        lab.ok(&["delete", "-f", "-p", "work"]);
        assert!(!lab.home().join("work").exists());
        assert_eq!(lab.status()["state"], "running");
        lab.ok(&["stop", "--quit"]);
    }

    fn delete_asks_and_then_leaves_nothing() {
        let lab = Lab::new();
        lab.ok(&["start"]);
        let said = lab.lighter(&["delete"]);
        assert!(said.code == Some(1) && said.stderr.contains("--force"), "{said:#?}");
        assert_eq!(lab.status()["state"], "running");
        lab.ok(&["delete", "--force"]);
        assert!(!lab.profile().exists() && lab.processes().is_empty());
        assert_eq!(std::fs::read_to_string(lab.docker().join("config.json")).unwrap().trim(), "{}");
        lab.ok(&["delete", "--force"]);
    }

    fn shell_passes_input_output_and_exit_code() {
        let lab = Lab::new();
        let said = lab.lighter(&["shell", "true"]);
        assert!(said.code == Some(1) && said.stderr.contains("lighter start"), "{said:#?}");
        lab.ok(&["start"]);
        let said = lab.with_input(&["shell", "uname", "-a"], "hello");
        assert_eq!((said.code, said.stdout.as_str(), said.stderr.as_str()), (Some(5), "uname -a|", "hello"));
        for (args, command) in [
            (&["shell", "ls", "-la", "-p", "x"][..], "ls -la -p x|"),
            (&["shell", "-p", "default", "ls", "--help"], "ls --help|"),
            (&["-p", "default", "shell", "--", "-x"], "-x|"),
            (&["shell"], "|"),
        ] {
            assert_eq!(lab.lighter(args).stdout, command, "{args:?}");
        }
        let big = "x".repeat(300_000);
        let said = lab.with_input(&["shell"], &big);
        assert_eq!((said.code, said.stderr.len()), (Some(255), big.len()));
        assert_eq!(lab.ok(&["logs", "dockerd", "--tail", "3"]).stdout, "Dockerd Some(3)\n");
        assert!(lab.ok(&["logs", "-n", "500"]).stdout.contains("dockerd is ready"));
        assert!(lab.ok(&["logs", "console"]).stdout.contains("Linux version"));
        lab.ok(&["stop", "--quit"]);
    }

    fn the_real_docker_cli_sees_uses_and_loses_the_context() {
        if !docker_is_here() {
            return;
        }
        let lab = Lab::new();
        let docker = |args: &[&str]| {
            let output = Command::new("docker").args(args).env("DOCKER_CONFIG", lab.docker()).env_remove("DOCKER_HOST").output().unwrap();
            String::from_utf8_lossy(&output.stdout).trim().to_owned()
        };
        lab.ok(&["start"]);
        assert_eq!(docker(&["context", "show"]), "lighter");
        assert_eq!(docker(&["version", "--format", "{{.Server.Version}}"]), "26.1.5");
        assert_eq!(docker(&["context", "inspect", "lighter", "--format", "{{.Endpoints.docker.Host}}"]), lab.status()["docker_host"]);
        lab.ok(&["stop"]);
        assert_eq!(docker(&["context", "show"]), "lighter", "the next docker command is to start it");
        assert_eq!(docker(&["version", "--format", "{{.Server.Version}}"]), "26.1.5");
        assert_eq!(lab.status()["state"], "stopped");
        lab.ok(&["stop", "--quit"]);
        assert_eq!(docker(&["context", "show"]), "default");
        docker(&["context", "create", "other", "--docker", "host=unix:///nowhere"]);
        docker(&["context", "use", "other"]);
        lab.ok(&["start", "--activate=false"]);
        assert_eq!(docker(&["context", "show"]), "other");
        lab.ok(&["context", "use"]);
        assert_eq!(docker(&["context", "show"]), "lighter");
        lab.ok(&["delete", "-f"]);
        assert_eq!(docker(&["context", "show"]), "other");
        assert!(!docker(&["context", "ls", "--format", "json"]).contains("lighter"));
    }

    fn another_engines_context_of_our_name_is_left_alone() {
        if !docker_is_here() {
            return;
        }
        let lab = Lab::new();
        let create = ["context", "create", "lighter", "--docker", "host=tcp://127.0.0.1:2375"];
        assert!(Command::new("docker").args(create).env("DOCKER_CONFIG", lab.docker()).output().unwrap().status.success());
        let said = lab.ok(&["start"]);
        assert!(said.stderr.contains("is not ours") && said.stderr.contains("lighter env"), "{said:#?}");
        lab.ok(&["delete", "-f"]);
        let inspect = ["context", "inspect", "lighter"];
        let output = Command::new("docker").args(inspect).env("DOCKER_CONFIG", lab.docker()).output().unwrap();
        assert!(String::from_utf8_lossy(&output.stdout).contains("tcp://127.0.0.1:2375"));
    }

    fn completion_and_env_speak_the_shells_languages() {
        let lab = Lab::new();
        for shell in ["bash", "zsh", "fish", "powershell"] {
            assert!(lab.ok(&["completion", shell]).stdout.contains("lighter"));
        }
        assert!(lab.ok(&["env", "--shell", "fish"]).stdout.starts_with("set -gx DOCKER_HOST 'unix://"));
        assert!(lab.ok(&["env", "--shell", "bash", "--unset"]).stdout.contains("unset DOCKER_HOST"));
    }
}
