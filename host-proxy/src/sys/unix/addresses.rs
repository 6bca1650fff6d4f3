//! Which addresses the kernel takes for its own, by the tables that Linux shows; other systems show none. Called by `net::reach`
//! where binding a socket does not tell.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// `RTF_LOCAL` of Linux's IPv6 routes.
const LOCAL: u32 = 0x8000_0000;

/// Whether packets to `address` end in this host; `None` if it does not tell.
pub fn is_own(address: IpAddr) -> Option<bool> {
    match address {
        IpAddr::V4(address) => is_local_v4(&fs::read_to_string("/proc/net/fib_trie").ok()?, address),
        IpAddr::V6(address) => is_local_v6(&fs::read_to_string("/proc/net/ipv6_route").ok()?, address),
    }
}

/// In `fib_trie` an address stands before the lines that say what it is, such as `/32 host LOCAL`.
fn is_local_v4(table: &str, address: Ipv4Addr) -> Option<bool> {
    let (mut base, mut understood) = (None, false);
    for line in table.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["|--", text] => base = text.parse::<Ipv4Addr>().ok(),
            [length, _, "LOCAL", ..] => {
                let bits: u32 = length.strip_prefix('/')?.parse().ok().filter(|bits| *bits <= 32)?;
                understood = true;
                let difference = u32::from(address) ^ u32::from(base?);
                if difference.checked_shr(32 - bits).unwrap_or(0) == 0 {
                    return Some(true);
                }
            }
            _ => {}
        }
    }
    // A host without any own address is a table that was not understood.
    understood.then_some(false)
}

/// In `ipv6_route`: destination, its length, source, its length, next hop, metric, two counters, flags, interface.
fn is_local_v6(table: &str, address: Ipv6Addr) -> Option<bool> {
    let mut understood = false;
    for line in table.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [destination, length, .., flags, _] = words[..] else { return None };
        if u32::from_str_radix(flags, 16).ok()? & LOCAL == 0 {
            continue;
        }
        understood = true;
        let bits = u32::from_str_radix(length, 16).ok().filter(|bits| *bits <= 128)?;
        let difference = u128::from(address) ^ u128::from_str_radix(destination, 16).ok()?;
        if difference.checked_shr(128 - bits).unwrap_or(0) == 0 {
            return Some(true);
        }
    }
    understood.then_some(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn n10_the_kernels_tables_are_read_prefixes_and_secondary_addresses_too() {
        let table = "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 0.0.0.0\n        /0 universe UNICAST\n     +-- 10.0.0.0/8 2 0 2\n\
                     \x20       |-- 10.0.0.0\n           /8 host LOCAL\n     |-- 192.0.2.5\n        /32 host LOCAL\n\
                     \x20    |-- 192.0.2.255\n        /32 link BROADCAST\n";
        let own = |address: &str| is_local_v4(table, address.parse().unwrap());
        assert_eq!([own("192.0.2.5"), own("10.9.8.7")], [Some(true); 2]);
        assert_eq!([own("192.0.2.6"), own("192.0.2.255"), own("11.0.0.1")], [Some(false); 3]);
        assert_eq!(is_local_v4("", Ipv4Addr::LOCALHOST), None);

        let zero = "0".repeat(32);
        let row = |destination: &str, length: &str, flags: &str| {
            format!("{destination} {length} {zero} 00 {zero} 00000000 00000001 00000000 {flags} eth0\n")
        };
        let table = row("20010db8000000000000000000000001", "80", "80200001") + &row(&zero, "00", "00200200");
        let own = |address: &str| is_local_v6(&table, address.parse().unwrap());
        assert_eq!((own("2001:db8::1"), own("2001:db8::2")), (Some(true), Some(false)));
        assert_eq!(is_local_v6("nonsense", Ipv6Addr::LOCALHOST), None);
        assert_eq!(is_local_v6("", Ipv6Addr::LOCALHOST), None);
    }
}
