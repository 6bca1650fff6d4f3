//! Which requests have a body to inspect. dockerd routes by the path behind an optional host and version, unescaped and
//! tidied; so does this, and where in doubt it inspects one body more. `request` calls it for every head.

use super::Kind;

/// The kind of body that a request has, if mounts can stand in it.
#[must_use]
pub fn route(method: &str, target: &[u8]) -> Option<Kind> {
    // Nearly every request ends here.
    if method != "POST" {
        return None;
    }
    let path = unescaped(path(target));
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in path.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    let parts = match parts.split_first() {
        Some((first, rest)) if is_version(first) => rest,
        _ => &parts,
    };
    match parts {
        [b"containers", b"create"] => Some(Kind::Container),
        [b"services", b"create"] | [b"services", _, b"update"] => Some(Kind::Service),
        [b"volumes", b"create"] => Some(Kind::Volume),
        _ => None,
    }
}

/// The path of a target in origin form (`/x?y`) or absolute form (`http://host/x?y`).
fn path(target: &[u8]) -> &[u8] {
    let path = target.split(|byte| *byte == b'?').next().unwrap_or_default();
    let colon = path.iter().position(|byte| matches!(byte, b':' | b'/'));
    let Some(colon) = colon.filter(|at| path[*at] == b':') else { return path };
    match &path[colon + 1..] {
        [b'/', b'/', authority @ ..] => {
            let slash = authority.iter().position(|byte| *byte == b'/').unwrap_or(authority.len());
            &authority[slash..]
        }
        rest => rest,
    }
}

fn unescaped(path: &[u8]) -> Vec<u8> {
    let digit = |byte: Option<&u8>| byte.and_then(|byte| char::from(*byte).to_digit(16));
    let (mut plain, mut rest) = (Vec::with_capacity(path.len()), path);
    while let Some((byte, behind)) = rest.split_first() {
        rest = behind;
        match (byte, digit(rest.first()), digit(rest.get(1))) {
            (b'%', Some(high), Some(low)) => {
                plain.push((high * 16 + low) as u8);
                rest = &rest[2..];
            }
            _ => plain.push(*byte),
        }
    }
    plain
}

fn is_version(part: &[u8]) -> bool {
    matches!(part, [b'v', number @ ..] if !number.is_empty() && number.iter().all(|b| b.is_ascii_digit() || *b == b'.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h9_every_way_to_write_a_path_leads_to_its_route() {
        for target in [
            "/containers/create",
            "/v1.45/containers/create?name=x&platform=",
            "/v1.24/containers/create",
            "/v1/containers/create",
            "//v1.45//containers/./create",
            "/v1.45/images/../containers/create",
            "/v1.45/%63ontainers/creat%65",
            "/v1.45/containers%2Fcreate",
            "/v1.45/containers%2fcreate/",
            "http://docker/v1.45/containers/create",
            "HTTP://[::1]:80/containers/create?x",
            "docker:/containers/create",
        ] {
            assert_eq!(route("POST", target.as_bytes()), Some(Kind::Container), "{target}");
            assert_eq!(route("GET", target.as_bytes()), None);
        }
        assert_eq!(route("POST", b"/v1.45/volumes/create"), Some(Kind::Volume));
        assert_eq!(route("POST", b"/services/create"), Some(Kind::Service));
        assert_eq!(route("POST", b"/v1.45/services/a%2Db/update?version=3"), Some(Kind::Service));
    }

    #[test]
    fn h9_other_requests_are_not_held() {
        for target in [
            "/",
            "*",
            "",
            "%",
            "%4",
            "/../..",
            "/containers/create/x",
            "/containers/c/start",
            "/networks/create",
            "/x/containers/create",
            "/vx/containers/create",
            "/build?remote=/containers/create",
            "http://containers/create",
        ] {
            assert_eq!(route("POST", target.as_bytes()), None, "{target}");
        }
    }
}
