//! `lighter ports`: which ports of containers are published, where they are reached on this computer, and by which container.

use std::process::ExitCode;

use clap::Args;

use super::{Target, block_on, output, status};
use crate::control::{Control, Phase};
use crate::forward::PublishedPort;

#[derive(Debug, Args)]
pub struct Ports {
    /// As JSON, one object per line.
    #[arg(short, long)]
    json: bool,
}

impl Ports {
    pub fn run(&self, target: &Target) -> anyhow::Result<ExitCode> {
        if status::of(target)?.state != Phase::Running {
            output::talk(&format!(
                "The machine is not running, so nothing is published: `lighter start{}` starts it",
                target.flag()
            ));
            return Ok(ExitCode::SUCCESS);
        }
        let ports = block_on(async {
            match Control::connect(&target.profile.control_socket()).await? {
                Some(control) => Ok(control.ports().await?),
                // It has ended meanwhile, and everything with it.
                None => Ok(Vec::new()),
            }
        })?;
        if self.json {
            return output::data(&ports.iter().map(|port| format!("{}\n", json(port))).collect::<String>());
        }
        if ports.is_empty() {
            output::talk("No port is published: `docker run -p 8080:80 …` publishes port 80 of a container as 8080");
            return Ok(ExitCode::SUCCESS);
        }
        output::data(&table(&ports))
    }
}

fn json(port: &PublishedPort) -> serde_json::Value {
    serde_json::json!({
        "host_address": port.host.ip(),
        "host_port": port.host.port(),
        "protocol": port.protocol.name(),
        "container_address": port.container.ip(),
        "container_port": port.container.port(),
        "container": port.name,
    })
}

fn table(ports: &[PublishedPort]) -> String {
    let mut rows = vec![["HOST", "PROTOCOL", "ADDRESS", "CONTAINER"].map(str::to_owned).to_vec()];
    rows.extend(ports.iter().map(|port| {
        let name = port.name.clone().unwrap_or_else(|| "-".to_owned());
        vec![port.host.to_string(), port.protocol.to_string(), port.container.to_string(), name]
    }));
    output::columns(&rows).iter().map(|line| format!("{line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use lighter_protocol::Transport;

    use super::*;

    #[test]
    fn ports_are_shown_in_columns_and_as_json_with_what_is_known_of_them() {
        let port = PublishedPort {
            host: "127.0.0.1:8080".parse().unwrap(),
            protocol: Transport::Tcp,
            container: "172.17.0.2:80".parse().unwrap(),
            name: Some("web".to_owned()),
        };
        let nameless = PublishedPort { host: "[::1]:8080".parse().unwrap(), name: None, ..port.clone() };
        let text = table(&[port, nameless.clone()]);
        let want = "HOST             PROTOCOL   ADDRESS         CONTAINER\n\
                    127.0.0.1:8080   tcp        172.17.0.2:80   web\n\
                    [::1]:8080       tcp        172.17.0.2:80   -\n";
        assert_eq!(text, want);
        let json = json(&nameless);
        assert_eq!(
            (&json["host_address"], &json["host_port"], &json["container"]),
            (&"::1".into(), &8080.into(), &serde_json::Value::Null)
        );
    }
}
