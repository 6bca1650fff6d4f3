//! SCTP ports in what makes containers. lighter publishes none, and dockerd would only find that out when the container is to
//! start and the guest's kernel has no rules for them, with an error of `iptables` that nobody can read. So it is said
//! before, and by its name. Called by `hold` for bodies that make containers. Pure.

use serde_json::Value;

/// Why such a body is refused, if it publishes an SCTP port.
pub(super) fn refusal(body: &[u8]) -> Option<String> {
    // Nearly every body ends here.
    if !body.windows(4).any(|word| word.eq_ignore_ascii_case(b"sctp")) {
        return None;
    }
    // One that cannot be read is dockerd's to complain of.
    let body: Value = serde_json::from_slice(body).ok()?;
    let bindings = field(field(&body, "HostConfig")?, "PortBindings")?.as_object()?;
    let published = |(port, places): &(&String, &Value)| {
        port.to_ascii_lowercase().ends_with("/sctp") && places.as_array().is_some_and(|places| !places.is_empty())
    };
    let (port, _) = bindings.iter().find(published)?;
    Some(format!(
        "{port:?} cannot be published: lighter carries TCP and UDP to this computer, and no SCTP. Publish another port, or leave it out"
    ))
}

/// A field of an object by its name, whose case does not count, as dockerd reads it.
fn field<'a>(value: &'a Value, name: &str) -> Option<&'a Value> {
    value.as_object()?.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h11_a_published_sctp_port_is_refused_by_name_and_nothing_else_is() {
        for body in [
            r#"{"HostConfig":{"PortBindings":{"80/tcp":[{"HostPort":"1"}],"80/sctp":[{"HostPort":"8080"}]}}}"#,
            r#"{"hostconfig":{"PORTBINDINGS":{"7-9/SCTP":[{}]}}}"#,
        ] {
            assert!(refusal(body.as_bytes()).is_some_and(|words| words.contains("no SCTP")), "{body}");
        }
        for body in [
            r#"{"HostConfig":{"PortBindings":{"80/tcp":[{"HostPort":"1"}]}}}"#,
            r#"{"ExposedPorts":{"80/sctp":{}},"HostConfig":{"PortBindings":{"80/sctp":null,"81/sctp":[]}}}"#,
            r#"{"Env":["KIND=sctp"],"HostConfig":{}}"#,
            r#"{"HostConfig":{"PortBindings":{"80/sctp":[{}]}}"#,
            r#"["sctp"]"#,
            "sctp",
        ] {
            assert_eq!(refusal(body.as_bytes()), None, "{body}");
        }
    }
}
