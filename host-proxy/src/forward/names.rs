//! Which container a published port belongs to, as the engine's own API says. Called by `daemon::serve` for `lighter ports`; a
//! port whose container is not found there, or an engine that does not answer, leaves the name open.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;

use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::list::PublishedPort;
use crate::guest::BoxedStream;
use crate::plain;

/// Longest answer that is read, in bytes: some thousand containers.
const LONGEST: u64 = 8 << 20;
/// HTTP/1.0, so that the answer has one piece and an end.
const QUESTION: &[u8] = b"GET /containers/json HTTP/1.0\r\nHost: docker\r\nUser-Agent: lighter\r\n\r\n";

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Container {
    names: Option<Vec<String>>,
    #[serde(default)]
    network_settings: NetworkSettings,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct NetworkSettings {
    networks: HashMap<String, Endpoint>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Endpoint {
    #[serde(rename = "IPAddress")]
    v4: String,
    #[serde(rename = "GlobalIPv6Address")]
    v6: String,
}

/// Fills in the names of `ports` by asking the engine behind `stream`.
pub async fn name(ports: &mut [PublishedPort], mut stream: BoxedStream) -> io::Result<()> {
    stream.write_all(QUESTION).await?;
    let mut answer = Vec::new();
    stream.take(LONGEST).read_to_end(&mut answer).await?;
    let names = read(&answer)?;
    for port in ports {
        port.name = names.get(&port.container.ip()).cloned();
    }
    Ok(())
}

/// Addresses and names in an answer.
fn read(answer: &[u8]) -> io::Result<HashMap<IpAddr, String>> {
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n");
    let end = end.filter(|_| answer.starts_with(b"HTTP/1.") && answer.get(9..12) == Some(b"200"));
    let body = &answer[end.ok_or(io::ErrorKind::InvalidData)? + 4..];
    let containers: Vec<Container> = serde_json::from_slice(body)?;
    let mut names = HashMap::new();
    for Container { names: own, network_settings } in containers {
        // A link gives further names, with the other container's in front.
        let own = own.unwrap_or_default();
        let name = own.iter().map(|name| name.trim_start_matches('/')).find(|name| !name.contains('/'));
        let name = plain::one_line(name.unwrap_or_default()).chars().take(200).collect::<String>();
        if name.is_empty() {
            continue;
        }
        for Endpoint { v4, v6 } in network_settings.networks.values() {
            for address in [v4, v6].into_iter().filter_map(|text| text.parse().ok()) {
                names.insert(address, name.clone());
            }
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn containers_are_found_by_any_of_their_addresses() {
        let body = r#"[
            {"Id":"a","Names":["/other/alias","/web"],"NetworkSettings":{"Networks":{
                "bridge":{"IPAddress":"172.17.0.2","GlobalIPv6Address":""},
                "six":{"IPAddress":"172.18.0.2","GlobalIPv6Address":"fd00::2"}}}},
            {"Id":"b","Names":["/evil\u001b[2J"],"NetworkSettings":{"Networks":{"bridge":{"IPAddress":"172.17.0.3"}}}},
            {"Id":"c","Names":null}]"#;
        let names = read(format!("HTTP/1.0 200 OK\r\nServer: Docker\r\n\r\n{body}").as_bytes()).unwrap();
        for address in ["172.17.0.2", "172.18.0.2", "fd00::2"] {
            assert_eq!(names[&address.parse().unwrap()], "web");
        }
        assert_eq!(names[&"172.17.0.3".parse().unwrap()], "evil[2J");
        assert!(read(b"HTTP/1.0 500 no\r\n\r\n[]").is_err() && read(b"[]").is_err() && read(b"").is_err());
    }

    proptest! {
        #[test]
        fn a4_any_answer_is_read_without_panic(body in ".{0,200}") {
            let _ = read(format!("HTTP/1.0 200 OK\r\n\r\n{body}").as_bytes());
            let _ = read(body.as_bytes());
        }
    }
}
