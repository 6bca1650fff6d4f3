//! The user units of systemd: a socket that systemd itself holds at the profile's endpoints from login on, and the service
//! that it starts when somebody calls. Read by `sys::login` on Linux; systemd.socket(5), systemd.service(5), systemd.syntax(7).

use super::{AutostartError, Entry};

/// Both units of a profile.
#[derive(Debug, PartialEq, Eq)]
pub struct Units {
    /// Text of the socket unit.
    pub socket: String,
    /// Text of the service unit.
    pub service: String,
}

/// File names of the socket and of the service.
pub fn names(entry: &Entry) -> [String; 2] {
    let stem = entry.profile.name().context();
    [format!("{stem}.socket"), format!("{stem}.service")]
}

/// The texts.
pub fn units(entry: &Entry) -> Result<Units, AutostartError> {
    let [socket_name, _] = names(entry);
    let name = entry.profile.name();
    let [docker, control] = [listens(&entry.profile.docker_socket())?, listens(&entry.profile.control_socket())?];
    let socket = format!(
        "# Written by `lighter autostart on`, removed by `lighter autostart off`.\n\
         [Unit]\n\
         Description=Docker API of lighter, profile {name}\n\
         \n\
         [Socket]\n\
         {docker}\n\
         {control}\n\
         SocketMode=0600\n\
         DirectoryMode=0700\n\
         RemoveOnStop=yes\n\
         \n\
         [Install]\n\
         WantedBy=sockets.target\n"
    );
    let program = quoted(&Entry::text(&entry.program, "a unit")?);
    let home = quoted(&format!("LIGHTER_HOME={}", Entry::text(&entry.home, "a unit")?));
    let boot = if entry.boot {
        // Asked for in vain it is no reason to end the service, which keeps the endpoint.
        format!("ExecStartPost=-{program} start --activate=false --profile {name}\nTimeoutStartSec=infinity\n")
    } else {
        String::new()
    };
    let install = if entry.boot { "\n[Install]\nWantedBy=default.target\n" } else { "" };
    let service = format!(
        "# Written by `lighter autostart on`, removed by `lighter autostart off`.\n\
         [Unit]\n\
         Description=lighter, profile {name}\n\
         Wants={socket_name}\n\
         After={socket_name}\n\
         \n\
         [Service]\n\
         ExecStart={program} daemon --asleep --profile {name}\n\
         {boot}\
         Environment={home}\n\
         KillMode=mixed\n\
         TimeoutStopSec=120\n\
         {install}"
    );
    Ok(Units { socket, service })
}

/// The line by which a socket unit is known to be this profile's.
pub fn mark(entry: &Entry) -> Result<String, AutostartError> {
    listens(&entry.profile.docker_socket())
}

fn listens(path: &std::path::Path) -> Result<String, AutostartError> {
    // Taken as it stands, blanks and quotes included, but for specifiers.
    Ok(format!("ListenStream={}", Entry::text(path, "a unit")?.replace('%', "%%")))
}

/// A program's path or an assignment in a unit. Dollar signs stand for themselves in both: only arguments know variables.
fn quoted(word: &str) -> String {
    let mut quoted = String::from("\"");
    for letter in word.chars() {
        match letter {
            '"' | '\\' => quoted.extend(['\\', letter]),
            '%' => quoted.push_str("%%"),
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::autostart::example;

    #[test]
    fn c7_paths_with_every_special_letter_are_quoted_as_systemd_reads_them() {
        let entry = example("/home/o'neil 100%/$HOME", "work", true);
        let units = units(&entry).unwrap();
        assert_eq!(names(&entry), ["lighter-work.socket", "lighter-work.service"]);
        for line in [
            "ExecStart=\"/opt/my \\\"programs\\\"/100%%/$lighter\\\\<&>\" daemon --asleep --profile work",
            "Environment=\"LIGHTER_HOME=/home/o'neil 100%%/$HOME\"",
            "Wants=lighter-work.socket",
            "WantedBy=default.target",
        ] {
            assert!(units.service.lines().any(|found| found == line), "{line} is not in\n{}", units.service);
        }
        assert!(units.socket.lines().any(|found| found == mark(&entry).unwrap()));
    }

    #[test]
    fn without_boot_only_the_socket_is_there_at_login() {
        let entry = example("/home/me/.lighter", "default", false);
        let units = units(&entry).unwrap();
        assert!(!units.service.contains("[Install]") && !units.service.contains("ExecStartPost"));
        // What both are called differs by host.
        for socket in [entry.profile.docker_socket(), entry.profile.control_socket()] {
            let line = format!("\nListenStream={}\n", socket.display());
            assert!(units.socket.contains(&line), "{}", units.socket);
        }
    }

    #[test]
    fn systemd_itself_finds_nothing_wrong_with_the_units() {
        let dir = tempfile::tempdir().unwrap();
        let mut entry = example("/home/me 100%/.lighter", "work", true);
        // What is verified includes that the program exists.
        let program = dir.path().join("a $program");
        std::fs::write(&program, "#!/bin/sh\n").unwrap();
        entry.program = program;
        let units = units(&entry).unwrap();
        let paths = names(&entry).map(|name| dir.path().join(name));
        std::fs::write(&paths[0], &units.socket).unwrap();
        std::fs::write(&paths[1], &units.service).unwrap();
        let verify = |paths: &[std::path::PathBuf]| {
            let _ = Command::new("chmod").arg("0755").arg(&entry.program).status();
            let mut command = Command::new("systemd-analyze");
            // Without a session there is none, and systemd asks for it before it looks at anything.
            command.env("XDG_RUNTIME_DIR", dir.path());
            command.args(["--user", "--man=no", "verify"]).args(paths).output()
        };
        let Ok(output) = verify(&paths) else { return println!("no systemd here: its opinion was not asked") };
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success() && !said.contains("lighter"), "{said}");
        // It would have said so.
        std::fs::write(&paths[1], units.service.replace("KillMode=mixed", "KillMode=gently")).unwrap();
        let output = verify(&paths).unwrap();
        assert!(String::from_utf8_lossy(&output.stderr).contains("gently"), "{output:?}");
    }
}
