//! Registries that dockerd is told of: mirrors of Docker Hub, and those that it may speak to without TLS. Every value is
//! checked as dockerd would check it, because dockerd does not start with one that it dislikes. Called by `world`.

use std::net::IpAddr;

use super::url::{Url, place, place_of};

/// A mirror, as the guest calls it.
pub fn mirror(text: &str) -> Result<Url, String> {
    let url = Url::parse(text, &["https", "http"], None)?;
    if url.has_login() {
        return Err("a mirror takes no user and password".to_owned());
    }
    Ok(url.for_guest())
}

/// A registry without TLS, or without a certificate that anybody knows: `host`, `host:port`, or a network of addresses.
pub fn insecure(text: &str) -> Result<String, String> {
    let text = text.trim();
    if text.contains("://") {
        return Err("write host and port only, as in \"registry.corp:5000\"".to_owned());
    }
    if let Some((address, bits)) = text.split_once('/') {
        let address: Option<IpAddr> = address.parse().ok();
        let most = match address {
            Some(IpAddr::V4(_)) => 32,
            Some(IpAddr::V6(_)) => 128,
            None => return Err("it is neither host and port nor a network such as \"10.1.0.0/16\"".to_owned()),
        };
        return match bits.parse::<u8>() {
            Ok(bits) if bits <= most => Ok(text.to_owned()),
            _ => Err(format!("the network's prefix has 0 to {most} bits")),
        };
    }
    let (host, port) = place_of(text)?;
    Ok(place(&host, port))
}

/// What dockerd gets: those that the user named, and mirrors that the user named as `http://`, because its builder asks for a
/// word about each.
pub fn all_insecure(named: &[String], mirrors: &[Url]) -> Vec<String> {
    let mut all = named.to_vec();
    let plain = mirrors.iter().filter(|mirror| mirror.scheme() == "http").map(Url::place);
    for place in plain {
        if !all.contains(&place) {
            all.push(place);
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c1_mirrors_are_what_dockerd_takes() {
        for (text, whole) in [
            ("https://mirror.corp", "https://mirror.corp"),
            ("http://10.0.0.1:5000/", "http://10.0.0.1:5000"),
            ("http://localhost:5000", "http://host.docker.internal:5000"),
        ] {
            assert_eq!(mirror(text).unwrap().secret_text(), whole);
        }
        for (text, words) in [
            ("mirror.corp", "no scheme"),
            ("mirror.corp:5000", "no scheme"),
            ("ftp://mirror.corp", "`https://…` or `http://…`"),
            ("https://mirror.corp/v2", "behind host and port"),
            ("https://mirror.corp?x", "behind host and port"),
            ("https://me:secret@mirror.corp", "no user and password"),
            ("https://", "no host"),
        ] {
            let message = mirror(text).unwrap_err();
            assert!(message.contains(words) && !message.contains("secret"), "{text}: {message}");
        }
    }

    #[test]
    fn c1_insecure_registries_are_hosts_ports_and_networks() {
        for text in
            ["registry.corp:5000", "10.1.2.3", "10.1.0.0/16", "[fd00::1]:5000", "fd00::/8", "host.docker.internal:5000"]
        {
            assert_eq!(insecure(text).unwrap(), text);
        }
        for (text, words) in [
            ("http://registry.corp:5000", "host and port only"),
            ("registry.corp/path", "neither host and port nor a network"),
            ("10.1.0.0/33", "0 to 32 bits"),
            ("registry.corp:70000", "1 to 65535"),
            ("--debug x", "no host"),
            ("-x", "no host"),
            ("x-:5000", "no host"),
            ("", "no host"),
            ("fd00::1", "brackets"),
        ] {
            let message = insecure(text).unwrap_err();
            assert!(message.contains(words), "{text}: {message}");
        }
    }

    #[test]
    fn a_mirror_over_plain_http_is_one_that_the_builder_may_use_so() {
        let mirrors = [mirror("http://m:5000").unwrap(), mirror("https://n").unwrap()];
        assert_eq!(all_insecure(&["r:1".to_owned(), "m:5000".to_owned()], &mirrors), ["r:1", "m:5000"]);
        assert_eq!(all_insecure(&[], &mirrors), ["m:5000"]);
    }
}
