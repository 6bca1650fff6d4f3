//! What the host itself resolves by: its hosts file and its list of name servers. Pure functions over the files' text, which
//! `watched` reads. Called by `mod`.

use std::hash::{BuildHasher, RandomState};
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

/// A hosts file (hosts(5)) with an index of its names: block lists have a million of them, and are asked at the guest's pace.
pub struct Hosts {
    text: String,
    /// A name's hash and where its line begins, in order.
    index: Vec<(u64, usize)>,
    hasher: RandomState,
}

impl Hosts {
    /// Reads a file's text.
    pub fn new(text: String) -> Self {
        let hasher = RandomState::new();
        let (mut index, mut at) = (Vec::new(), 0);
        for line in text.split_inclusive('\n') {
            if let Some((_, names)) = entry(line) {
                index.extend(names.map(|name| (hash(&hasher, name), at)));
            }
            at += line.len();
        }
        index.sort_unstable();
        index.dedup();
        Self { text, index, hasher }
    }

    /// The addresses of `name`, in the file's order; none if the name is not there.
    pub fn addresses(&self, name: &str) -> Vec<IpAddr> {
        let wanted = hash(&self.hasher, name);
        let first = self.index.partition_point(|(hash, _)| *hash < wanted);
        let lines = self.index[first..].iter().take_while(|(hash, _)| *hash == wanted);
        let address = |&(_, at): &(u64, usize)| {
            let (address, mut names) = entry(self.text[at..].lines().next()?)?;
            names.any(|other| other.eq_ignore_ascii_case(name)).then_some(address)
        };
        lines.filter_map(address).collect()
    }
}

/// The address of a line and its names.
fn entry(line: &str) -> Option<(IpAddr, impl Iterator<Item = &str>)> {
    let mut words = line.split('#').next()?.split_whitespace();
    let address = words.next()?.parse().ok()?;
    Some((address, words.map(|word| word.trim_end_matches('.'))))
}

fn hash(hasher: &RandomState, name: &str) -> u64 {
    hasher.hash_one(name.to_ascii_lowercase())
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
        let hosts = Hosts::new(text.to_owned());
        assert_eq!(hosts.addresses("build"), want);
        assert_eq!(hosts.addresses("Build.Example").len(), 1);
        for none in ["the", "192.0.2.7", ""] {
            assert!(hosts.addresses(none).is_empty(), "{none}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_panic(text in ".{0,200}", name in ".{0,20}") {
            prop_assert!(resolver(&text).servers.len() <= MOST_SERVERS);
            Hosts::new(text).addresses(&name);
        }
    }
}
