//! Proxies, registries and trust from `lighter start` to what the agent and the docker CLI are told.

use lighter_protocol::EngineSettings;

use crate::lab::{Lab, Said, eventually};

const PROXY: &str = "http://me:secret@127.0.0.1:3128";

/// What the agent of the last machine was told.
fn orders(lab: &Lab) -> EngineSettings {
    serde_json::from_slice(&std::fs::read(lab.image("orders")).unwrap()).unwrap()
}

fn configure(lab: &Lab, text: &str) {
    lab.ok(&["stop"]);
    std::fs::write(lab.profile().join("config.toml"), text).unwrap();
}

fn start_with(lab: &Lab, variables: &[(&str, &str)]) -> Said {
    crate::lab::end(lab.command(&["start"]).envs(variables.iter().copied()).spawn().unwrap())
}

fn docker_config(lab: &Lab) -> serde_json::Value {
    serde_json::from_str(&std::fs::read_to_string(lab.docker().join("config.json")).unwrap()).unwrap()
}

cases! {
    fn c9_the_environment_of_the_last_start_counts_for_every_machine_after_it() {
        let lab = Lab::new();
        lab.ok(&["start"]);
        configure(&lab, "network = true\n");
        let said = start_with(&lab, &[("HTTPS_PROXY", PROXY), ("no_proxy", "corp")]);
        assert!(said.stderr.contains("proxy           http://127.0.0.1:3128, for pulls, builds and containers"), "{said:?}");
        let told = orders(&lab).proxies;
        assert_eq!(told.https.as_deref(), Some("http://me:secret@host.docker.internal:3128"));
        assert_eq!((told.http.as_deref(), told.no_proxy.as_deref()), (None, Some("corp,localhost,127.0.0.0/8,::1,host.docker.internal")));
        // Whoever wakes the machine has no say.
        lab.ok(&["stop"]);
        std::fs::remove_file(lab.image("orders")).unwrap();
        lab.ask("GET", "/containers/json");
        assert_eq!(orders(&lab).proxies, told);
        // Another start has, and so has a restart.
        lab.ok(&["stop"]);
        start_with(&lab, &[("http_proxy", "proxy.corp:8080")]);
        assert_eq!((orders(&lab).proxies.http.as_deref(), orders(&lab).proxies.https), (Some("http://proxy.corp:8080"), None));
        lab.ok(&["restart"]);
        assert_eq!(orders(&lab).proxies, lighter_protocol::Proxies::default());
        // Settings win.
        configure(&lab, "network = true\nproxy = \"off\"\n");
        start_with(&lab, &[("HTTPS_PROXY", PROXY)]);
        assert_eq!(orders(&lab).proxies, lighter_protocol::Proxies::default());
    }

    fn c9_containers_get_the_proxies_by_dockers_settings_until_the_endpoint_goes() {
        let lab = Lab::new();
        std::fs::create_dir_all(lab.docker()).unwrap();
        let own = "{\n\t\"mine\": 1.50,\n\t\"proxies\": {\"tcp://elsewhere:1\": {\"httpProxy\": \"theirs\"}}\n}\n";
        std::fs::write(lab.docker().join("config.json"), own).unwrap();
        lab.ok(&["start"]);
        configure(&lab, "network = true\n");
        start_with(&lab, &[("HTTP_PROXY", PROXY)]);
        let host = format!("unix://{}", lab.profile().join("docker.sock").display());
        let entry = docker_config(&lab)["proxies"][&host].clone();
        assert_eq!(entry["httpProxy"], "http://me:secret@host.docker.internal:3128");
        lab.ok(&["stop"]);
        assert_eq!(docker_config(&lab)["proxies"][&host], entry, "the next docker command wakes the machine");
        lab.ok(&["stop", "--quit"]);
        assert_eq!(std::fs::read_to_string(lab.docker().join("config.json")).unwrap(), own);
        std::fs::write(lab.profile().join("config.toml"), "network = true\ncontainer_proxies = false\n").unwrap();
        let said = start_with(&lab, &[("HTTP_PROXY", PROXY)]);
        assert!(said.stderr.contains("containers get none"), "{said:?}");
        assert_eq!(docker_config(&lab)["proxies"].as_object().unwrap().len(), 1);
        std::fs::write(lab.profile().join("config.toml"), "network = true\n").unwrap();
        crate::lab::end(lab.command(&["restart"]).env("HTTP_PROXY", PROXY).spawn().unwrap());
        assert_eq!(docker_config(&lab)["proxies"][&host], entry);
        lab.ok(&["delete", "--force"]);
        assert_eq!(std::fs::read_to_string(lab.docker().join("config.json")).unwrap(), own);
    }

    fn c9_a_proxys_password_is_in_no_log_and_no_answer() {
        let lab = Lab::new();
        lab.ok(&["start"]);
        configure(&lab, &format!("network = true\nhost_access = false\n[proxy]\nall = \"{PROXY}\"\n"));
        let mut said = vec![start_with(&lab, &[("HTTP_PROXY", "http://you:secret@[::1"), ("LIGHTER_LOG", "trace")])];
        assert!(said[0].stderr.contains("`host_access` closes"), "{said:?}");
        for words in [&["status"][..], &["status", "--json"], &["list", "--json"], &["env"], &["logs", "daemon"], &["doctor"], &["doctor", "--json"]] {
            said.push(lab.lighter(words));
        }
        assert_eq!(lab.status()["proxy"], "http://127.0.0.1:3128");
        // In a file that cannot be read as well.
        lab.ok(&["stop"]);
        std::fs::write(lab.profile().join("config.toml"), format!("[proxy]\nall = \"{PROXY}\n")).unwrap();
        for words in [&["start"][..], &["status"], &["doctor"]] {
            said.push(lab.lighter(words));
        }
        lab.ask("GET", "/containers/json");
        // The log's writer is behind the answer.
        let read = || std::fs::read_to_string(lab.profile().join("daemon.log")).unwrap();
        eventually("the refusal is in the log", || read().contains("not valid TOML"));
        let log = read();
        assert!(log.contains("pulls and builds go through http://127.0.0.1:3128"), "{log}");
        assert!(!log.contains("secret"), "{log}");
        let kept = std::fs::read_dir(lab.profile()).unwrap().flatten().filter(|file| file.file_name() != "config.toml");
        for file in kept.filter(|file| file.metadata().unwrap().len() < 1 << 20 && file.file_type().unwrap().is_file()) {
            let text = String::from_utf8_lossy(&std::fs::read(file.path()).unwrap()).into_owned();
            assert!(!text.contains("secret"), "{:?}: {text}", file.path());
        }
        for said in said {
            assert!(!said.stdout.contains("secret") && !said.stderr.contains("secret"), "{said:?}");
        }
    }

    fn c3_certificates_of_the_user_reach_the_agent_or_the_start_says_why_not() {
        let lab = Lab::new();
        let (good, missing) = (lab.image("good.pem"), lab.image("missing.pem"));
        let mut der = vec![0x30, 0x82, 1, 0, 0x30];
        der.resize(260, 7);
        std::fs::write(&good, &der).unwrap();
        // Made of this one alone, whatever this computer trusts.
        let start = || {
            let mut command = lab.command(&["start"]);
            crate::lab::end(command.env("SSL_CERT_FILE", &good).env("SSL_CERT_DIR", lab.image("none")).spawn().unwrap())
        };
        // The daemon itself is made in that environment.
        start();
        configure(&lab, &format!("network = true\nca_certificates = [{good:?}]\n"));
        assert_eq!(start().code, Some(0));
        assert_eq!(orders(&lab).certificate_frames, 1);
        configure(&lab, &format!("network = true\nca_certificates = [{missing:?}]\n"));
        let said = start();
        assert!(said.code == Some(1) && said.stderr.contains("missing.pem") && said.stderr.contains("make it readable"), "{said:?}");
        // Where nobody is there to be told, the answer of the API says it.
        assert!(lab.ask("GET", "/containers/json").contains("missing.pem"));
        let doctor = lab.lighter(&["doctor"]);
        assert!(doctor.code == Some(1) && doctor.stdout.contains("missing.pem"), "{doctor:?}");
        configure(&lab, "network = true\nregistry_mirrors = [\"mirror.corp\"]\n");
        let said = start();
        assert!(said.code == Some(1) && said.stderr.contains("registry_mirrors cannot be \"mirror.corp\""), "{said:?}");
    }

    fn a_machine_without_a_network_is_told_of_no_world() {
        let lab = Lab::new();
        lab.ok(&["start"]);
        configure(&lab, "network = false\n");
        let said = start_with(&lab, &[("HTTP_PROXY", PROXY)]);
        assert!(said.code == Some(0) && !said.stderr.contains("proxy"), "{said:?}");
        assert_eq!(orders(&lab), EngineSettings::default());
    }
}
