//! What must hold of `lighter autostart` on Linux, with a `systemctl` that does to files what systemd's does. What systemd thinks
//! of the units is asked in `autostart::systemd`, and its sockets are taken over in `wake`.

use std::path::PathBuf;
use std::process::Command;

use crate::lab::{Lab, Said, end};

const SYSTEMCTL: &str = r#"#!/bin/sh
units=$XDG_CONFIG_HOME/systemd/user active=$XDG_CONFIG_HOME/active
[ "$1 $2" = '--user --quiet' ] || exit 9
shift 2
echo "$@" >> "$XDG_CONFIG_HOME/calls"
verb=$1 && shift
case $verb in
show-environment | daemon-reload) ;;
enable) for unit; do
    [ -e "$units/$unit" ] || exit 1
    mkdir -p "$units/sockets.target.wants" && ln -sf "../$unit" "$units/sockets.target.wants/$unit"
done ;;
disable) for unit; do rm -f "$units/sockets.target.wants/$unit"; done ;;
start) echo "$1" > "$active" ;;
stop) rm -f "$active" ;;
is-active) [ -e "$active" ] ;;
*) exit 9 ;;
esac
"#;

/// A user's configuration directory with that `systemctl` on the path.
fn session(lab: &Lab) -> PathBuf {
    let config = lab.image("config");
    let program = config.join("bin/systemctl");
    std::fs::create_dir_all(program.parent().unwrap()).unwrap();
    std::fs::write(&program, SYSTEMCTL).unwrap();
    assert!(Command::new("chmod").arg("0755").arg(&program).status().unwrap().success());
    config
}

fn lighter(lab: &Lab, args: &[&str]) -> Said {
    let config = session(lab);
    let path = format!("{}:{}", config.join("bin").display(), std::env::var("PATH").unwrap_or_default());
    end(lab.command(args).env("XDG_CONFIG_HOME", config).env("PATH", path).spawn().unwrap())
}

fn ok(lab: &Lab, args: &[&str]) -> Said {
    let said = lighter(lab, args);
    assert_eq!(said.code, Some(0), "lighter {args:?}: {said:#?}");
    said
}

cases! {
    fn autostart_writes_units_enables_them_and_takes_them_back() {
        let lab = Lab::new();
        let units = session(&lab).join("systemd/user");
        assert_eq!(ok(&lab, &["autostart", "status"]).stdout, "off\n");
        let said = ok(&lab, &["autostart", "on"]);
        assert!(said.stderr.contains("lighter.socket") && said.stderr.contains("first docker command"), "{said:#?}");
        assert_eq!(ok(&lab, &["autostart", "status"]).stdout, "on\n");
        let socket = std::fs::read_to_string(units.join("lighter.socket")).unwrap();
        assert!(socket.contains(&format!("ListenStream={}\n", lab.profile().join("docker.sock").display())), "{socket}");
        assert!(lab.processes().is_empty() && lab.machines() == 0, "systemd holds the endpoint, and nobody runs");
        assert!(units.join("../../active").exists(), "it is provided at once");
        // Once more, now with the machine.
        ok(&lab, &["autostart", "on", "--boot"]);
        let service = std::fs::read_to_string(units.join("lighter.service")).unwrap();
        assert!(service.contains("WantedBy=default.target") && service.contains(" start --activate=false "), "{service}");
        // While systemd holds sockets for it, the units stay readable; what comes at login is over at once.
        assert!(ok(&lab, &["autostart", "off"]).stderr.contains("any more"));
        assert_eq!(ok(&lab, &["autostart", "status"]).stdout, "off\n");
        ok(&lab, &["stop", "--quit"]);
        assert!(!units.join("../../active").exists(), "who quits is not started again by the next call");
        assert!(!units.join("lighter.socket").exists() && !units.join("lighter.service").exists());
        assert!(ok(&lab, &["autostart", "off"]).stderr.contains("did not start"));
    }

    fn autostart_leaves_another_homes_units_alone_and_delete_forgets_its_own() {
        let (one, two) = (Lab::new(), Lab::with_home("other"));
        ok(&one, &["autostart", "on"]);
        let text = std::fs::read_to_string(session(&one).join("systemd/user/lighter.socket")).unwrap();
        let units = session(&two).join("systemd/user");
        std::fs::create_dir_all(&units).unwrap();
        std::fs::write(units.join("lighter.socket"), &text).unwrap();
        let said = lighter(&two, &["autostart", "on"]);
        assert!(said.code == Some(1) && said.stderr.contains("another LIGHTER_HOME"), "{said:#?}");
        for harmless in [&["autostart", "off"][..], &["stop", "--quit"], &["delete", "--force"]] {
            ok(&two, harmless);
            assert_eq!(std::fs::read_to_string(units.join("lighter.socket")).unwrap(), text, "{harmless:?}");
        }
        ok(&one, &["start"]);
        ok(&one, &["autostart", "on"]);
        ok(&one, &["delete", "--force"]);
        assert_eq!(ok(&one, &["autostart", "status"]).stdout, "off\n");
        assert!(one.processes().is_empty());
    }

    fn without_systemd_autostart_says_what_does_the_same() {
        let lab = Lab::new();
        let mut command = lab.command(&["autostart", "on", "-p", "work"]);
        let said = end(command.env("XDG_CONFIG_HOME", session(&lab)).env("PATH", "/nonexistent").spawn().unwrap());
        assert_eq!(said.code, Some(1));
        assert!(said.stderr.contains("no systemd") && said.stderr.contains("lighter start --asleep --profile work"), "{said:#?}");
        assert!(!session(&lab).join("systemd").exists(), "nothing is written in vain");
    }
}
