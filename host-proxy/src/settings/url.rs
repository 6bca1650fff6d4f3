//! The few URLs that `config.toml` and the environment hold: a proxy, a mirror. Only scheme, login, host and port, because
//! anything else in one is a mistake. Never shows a login. Used by `proxy` and `registries`.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use crate::net::HOST_NAME;

/// Longest URL in bytes.
const LONGEST: usize = 2048;

/// `scheme://login@host:port`.
#[derive(Clone, PartialEq, Eq)]
pub struct Url {
    scheme: String,
    /// User and password as they stand in the URL, percent signs and all.
    login: Option<String>,
    /// A name, an IPv4 address, or an IPv6 address in brackets.
    host: String,
    port: Option<u16>,
}

impl Url {
    /// Reads `text`; `default` is the scheme of one that names none. An error says what is wrong and repeats nothing of a login.
    pub fn parse(text: &str, schemes: &[&str], default: Option<&str>) -> Result<Url, String> {
        let text = text.trim();
        if text.len() > LONGEST {
            return Err(format!("it is longer than {LONGEST} bytes"));
        }
        if text.chars().any(|letter| letter.is_whitespace() || letter.is_control()) {
            return Err("a URL has no blanks in it (`%20` stands for one)".to_owned());
        }
        let (scheme, rest) = match (text.split_once("://"), default) {
            (Some((scheme, rest)), _) => (scheme.to_ascii_lowercase(), rest),
            (None, Some(default)) => (default.to_owned(), text),
            (None, None) => return Err(format!("it begins with no scheme; write {}", begins(schemes))),
        };
        if !schemes.contains(&scheme.as_str()) {
            return Err(format!("its scheme is none of those that work here; write {}", begins(schemes)));
        }
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let (login, place) = match authority.rsplit_once('@') {
            Some((login, place)) => (Some(login.to_owned()), place),
            None => (None, authority),
        };
        if login.as_deref().is_some_and(|login| !is_login(login)) || path.contains('@') {
            return Err("its user or password holds a letter that has to be written by its number, \
                        as `%2F` for `/`, `%23` for `#` and `%25` for `%`"
                .to_owned());
        }
        if !matches!(path, "" | "/") {
            return Err("nothing may stand behind host and port".to_owned());
        }
        let (host, port) = place_of(place)?;
        Ok(Url { scheme, login, host, port })
    }

    /// All of it, login included: for whoever has to use it, never for a person.
    pub fn secret_text(&self) -> String {
        let login = self.login.as_ref().map(|login| format!("{login}@")).unwrap_or_default();
        format!("{}://{login}{}", self.scheme, self.place())
    }

    /// `host`, or `host:port`.
    pub fn place(&self) -> String {
        place(&self.host, self.port)
    }

    /// Its scheme.
    pub fn scheme(&self) -> &str {
        &self.scheme
    }

    /// Host without brackets, and the port that is spoken to.
    pub fn endpoint(&self) -> (&str, u16) {
        let default = match self.scheme.as_str() {
            "https" => 443,
            "http" => 80,
            _ => 1080,
        };
        (self.host.trim_matches(['[', ']']), self.port.unwrap_or(default))
    }

    /// Whether it has a user name.
    pub fn has_login(&self) -> bool {
        self.login.is_some()
    }

    /// Whether it is on this computer's own loopback.
    pub fn is_loopback(&self) -> bool {
        is_loopback(&self.host)
    }

    /// The same place as the guest calls it: the host's loopback has a name of its own there.
    pub fn for_guest(&self) -> Url {
        let host = if self.is_loopback() { HOST_NAME.to_owned() } else { self.host.clone() };
        Url { host, ..self.clone() }
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.place())
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// `host` or `host:port` as text.
pub fn place(host: &str, port: Option<u16>) -> String {
    port.map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// Reads `host` or `host:port`, an IPv6 address in brackets.
pub fn place_of(text: &str) -> Result<(String, Option<u16>), String> {
    let (host, port) = match text.rsplit_once(':') {
        _ if text.ends_with(']') => (text, None),
        Some((host, port)) => (host, Some(port)),
        None => (text, None),
    };
    // Rust reads `+80` as well.
    let digits = port.is_some_and(|port| port.bytes().all(|byte| byte.is_ascii_digit()));
    let port = match port.map(str::parse::<u16>) {
        None => None,
        Some(Ok(number @ 1..)) if digits => Some(number),
        _ => return Err("its port is no number from 1 to 65535".to_owned()),
    };
    let inside = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    // dockerd refuses a dash at either end.
    let named = |host: &str| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
        host.bytes().all(plain) && !host.starts_with('-') && !host.ends_with('-')
    };
    match inside {
        Some(address) if address.parse::<Ipv6Addr>().is_ok() => Ok((host.to_owned(), port)),
        None if !host.is_empty() && named(host) => Ok((host.to_owned(), port)),
        None if host.contains(':') => Err("an IPv6 address stands in brackets, as in `[::1]:3128`".to_owned()),
        _ => Err("it names no host".to_owned()),
    }
}

/// Whether a host is this computer's own loopback.
fn is_loopback(host: &str) -> bool {
    let name = host.trim_end_matches('.').to_ascii_lowercase();
    if let Ok(address) = name.parse::<Ipv4Addr>() {
        return address.is_loopback() || address.is_unspecified();
    }
    if let Ok(address) = name.trim_matches(['[', ']']).parse::<Ipv6Addr>() {
        let mapped = address.to_ipv4_mapped().is_some_and(|address| address.is_loopback());
        return address.is_loopback() || address.is_unspecified() || mapped;
    }
    name == "localhost" || name.ends_with(".localhost")
}

/// What dockerd's URL parser takes as user and password; one that it does not take it would print.
fn is_login(text: &str) -> bool {
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        let fine = match byte {
            b'%' => {
                [bytes.next(), bytes.next()].iter().all(|digit| digit.is_some_and(|digit| digit.is_ascii_hexdigit()))
            }
            other => other.is_ascii_alphanumeric() || b"-._:~!$&'()*+,;=@".contains(&other),
        };
        if !fine {
            return false;
        }
    }
    true
}

fn begins(schemes: &[&str]) -> String {
    schemes.iter().map(|scheme| format!("`{scheme}://…`")).collect::<Vec<_>>().join(" or ")
}

/// `text` with every login in it made unreadable, letter by letter, so that lines and columns stay.
pub fn without_logins(text: &str) -> String {
    let mut letters: Vec<char> = text.chars().collect();
    for at in (0..letters.len()).filter(|&at| letters[at] == '@').collect::<Vec<_>>() {
        for back in (0..at).rev() {
            let behind_scheme = back >= 2 && letters[back - 2..=back] == [':', '/', '/'];
            if letters[back].is_whitespace() || "\"'".contains(letters[back]) || behind_scheme {
                break;
            }
            letters[back] = '*';
        }
    }
    letters.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCHEMES: &[&str] = &["http", "https"];

    fn url(text: &str) -> Result<Url, String> {
        Url::parse(text, SCHEMES, Some("http"))
    }

    #[test]
    fn c9_urls_are_read_as_people_write_them() {
        for (text, whole, shown) in [
            ("proxy.corp:3128", "http://proxy.corp:3128", "http://proxy.corp:3128"),
            ("HTTPS://proxy.corp/", "https://proxy.corp", "https://proxy.corp"),
            ("http://me:s%20cret@10.1.2.3:80", "http://me:s%20cret@10.1.2.3:80", "http://10.1.2.3:80"),
            ("http://a@b:c@proxy:1", "http://a@b:c@proxy:1", "http://proxy:1"),
            ("http://[fd00::1]:3128", "http://[fd00::1]:3128", "http://[fd00::1]:3128"),
        ] {
            let url = url(text).unwrap();
            assert_eq!((url.secret_text().as_str(), url.to_string().as_str()), (whole, shown), "{text}");
            assert_eq!(format!("{url:?}"), shown);
        }
        assert_eq!(url("http://[::1]").unwrap().endpoint(), ("::1", 80));
        assert_eq!(url("https://x").unwrap().endpoint(), ("x", 443));
    }

    #[test]
    fn c9_urls_that_dockerd_would_stumble_over_are_refused_without_their_password() {
        for (text, words) in [
            ("ftp://secret@proxy", "`http://…` or `https://…`"),
            ("http://me:secret@", "names no host"),
            ("http://me:secret@proxy:99999", "1 to 65535"),
            ("http://me:secret@proxy:0", "1 to 65535"),
            ("http://me:secret@proxy:", "1 to 65535"),
            ("http://me:secret@::1:3128", "in brackets"),
            ("http://me:secret@proxy/path", "behind host and port"),
            ("http://me:secret/x@proxy", "`%2F` for `/`"),
            ("http://me:secret#x@proxy", "`%2F` for `/`"),
            ("http://me:secret%zz@proxy", "`%25` for `%`"),
            ("http://me:sec\"ret@proxy", "written by its number"),
            ("http://me:secret @proxy", "no blanks"),
            ("http://[::1%25eth0]:3128", "no host"),
        ] {
            let message = url(text).unwrap_err();
            assert!(message.contains(words) && !message.contains("secret"), "{text}: {message}");
        }
        assert!(url(&"x".repeat(3000)).unwrap_err().contains("longer"));
        assert!(Url::parse("mirror.corp", SCHEMES, None).unwrap_err().contains("no scheme"));
    }

    #[test]
    fn c9_the_hosts_loopback_gets_the_name_that_the_guest_knows_it_by() {
        for host in [
            "localhost",
            "LOCALHOST.",
            "a.localhost",
            "127.0.0.1",
            "127.9.9.9",
            "0.0.0.0",
            "[::1]",
            "[::ffff:127.0.0.1]",
            "[::]",
        ] {
            let url = url(&format!("http://me:secret@{host}:3128")).unwrap();
            assert_eq!(url.for_guest().secret_text(), "http://me:secret@host.docker.internal:3128", "{host}");
        }
        for host in ["proxy", "10.0.0.1", "localhost.corp", "[fd00::1]", "128.0.0.1"] {
            let url = url(&format!("http://{host}:3128")).unwrap();
            assert_eq!(url.for_guest(), url, "{host}");
        }
    }

    #[test]
    fn c9_logins_in_any_text_become_unreadable_and_nothing_moves() {
        for (text, safe) in [
            ("http = \"http://me:secret@proxy\" # \u{e4}", "http = \"http://*********@proxy\" # \u{e4}"),
            ("a='secret@x' b=\"s@cret@y\"", "a='******@x' b=\"******@y\""),
            ("no login", "no login"),
            ("a word\n@", "a word\n@"),
        ] {
            assert_eq!(without_logins(text), safe);
        }
    }
}
