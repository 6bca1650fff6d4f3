//! What the host itself resolves by: its hosts file and its list of name servers. Pure functions over the files' text, read
//! anew for every question, so that a change of network or of a file counts at once. Called by `mod` and `upstream`.

use std::net::{IpAddr, SocketAddr};

use crate::net::plan::DNS_PORT;

/// More servers are not asked (resolv.conf(5)).
const MOST_SERVERS: usize = 3;
/// More search domains are not told to the guest; glibc takes any number, older resolvers six.
const MOST_DOMAINS: usize = 6;

/// What resolv.conf says.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Resolver {
    /// In the order in which they are asked.
    pub servers: Vec<SocketAddr>,
    /// Domains in which short names are looked up.
    pub search: Vec<String>,
}

/// Reads resolv.conf(5).
pub fn resolver(text: &str) -> Resolver {
    let mut found = Resolver::default();
    for line in text.lines() {
        let mut words = line.split(['#', ';']).next().unwrap_or_default().split_whitespace();
        match words.next() {
            Some("nameserver") => {
                // An address of one link only (`fe80::1%eth0`) is not understood, and left out.
                let address = words.next().and_then(|word| word.parse::<IpAddr>().ok());
                if let (Some(address), true) = (address, found.servers.len() < MOST_SERVERS) {
                    found.servers.push(SocketAddr::new(address, DNS_PORT));
                }
            }
            // The last one counts.
            Some("search" | "domain") => {
                found.search = words.filter(|word| is_domain(word)).take(MOST_DOMAINS).map(str::to_owned).collect()
            }
            _ => {}
        }
    }
    found
}

/// What may go into the guest's own file.
fn is_domain(word: &str) -> bool {
    word.len() <= 253 && word != "." && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
}

/// The addresses of `name` in a hosts file (hosts(5)), in its order; none if the name is not there.
pub fn addresses(hosts: &str, name: &str) -> Vec<IpAddr> {
    let of_line = |line: &str| {
        let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
        let address = words.next()?.parse().ok()?;
        words.any(|word| word.trim_end_matches('.').eq_ignore_ascii_case(name)).then_some(address)
    };
    hosts.lines().filter_map(of_line).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn resolv_conf_gives_servers_in_order_and_the_last_search_line() {
        let text = "# made by hand\nnameserver 192.0.2.1 # first\n nameserver\t2001:db8::53\nnameserver fe80::1%eth0\n\
                    nameserver 192.0.2.3\nnameserver 192.0.2.4\ndomain old.example\nsearch corp.example bad/../name example\n\
                    options ndots:2 timeout:1\nnameserver\n";
        let found = resolver(text);
        let servers: Vec<String> = found.servers.iter().map(ToString::to_string).collect();
        assert_eq!(servers, ["192.0.2.1:53", "[2001:db8::53]:53", "192.0.2.3:53"]);
        assert_eq!(found.search, ["corp.example", "example"]);
        assert_eq!(resolver(""), Resolver::default());
        assert!(resolver("search .\n").search.is_empty());
    }

    #[test]
    fn the_hosts_file_is_read_as_hosts_5_says() {
        let text = "127.0.0.1\tlocalhost\n192.0.2.7 build build.example # the box\n2001:db8::7 BUILD\nnonsense build\n192.0.2.8\n";
        let want: Vec<IpAddr> = ["192.0.2.7", "2001:db8::7"].map(|address| address.parse().unwrap()).to_vec();
        assert_eq!(addresses(text, "build"), want);
        assert_eq!(addresses(text, "Build.Example").len(), 1);
        assert!(
            addresses(text, "the").is_empty()
                && addresses(text, "192.0.2.7").is_empty()
                && addresses(text, "").is_empty()
        );
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_panic(text in ".{0,200}", name in ".{0,20}") {
            prop_assert!(resolver(&text).servers.len() <= MOST_SERVERS);
            addresses(&text, &name);
        }
    }
}
