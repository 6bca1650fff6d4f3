//! Where clouds keep the secrets of a machine: its credentials, its first-boot scripts. A host in a cloud, or a desktop that is
//! a cloud machine itself, would hand them to any process, and so to any container. Called by `policy`.
//!
//! Nearly all of them are link-local, which `policy` refuses as a whole (169.254.169.254 of most clouds, 169.254.170.2 and
//! .23 of AWS's containers, 169.254.42.42, 169.254.0.23, fe80::a9fe:a9fe). Here are those that are not. Each is one address,
//! or a block that a cloud uses for such services alone, so nobody misses what is behind it. Name and time servers of
//! clouds are no secret and stay open: the names of a host in Azure, for example, come through this process, not past it.
//!
//! | address | whose | documented by |
//! |---|---|---|
//! | `168.63.129.16` | Azure's host agent ("WireServer"): certificates and extension settings | Microsoft |
//! | `100.100.100.200`, `fd00:100::100:200` | Alibaba Cloud | Alibaba |
//! | `192.0.0.192` | Oracle Cloud Classic and Cloud at Customer | Oracle |
//! | `100.96.0.96` | Volcano Engine, BytePlus | Volcengine's SDKs |
//! | `fd00:ec2::/32` | AWS: metadata `::254`, credentials of pods `::23` | AWS |
//! | `fd20:ce::254` | Google Cloud, machines with IPv6 only | Google |
//! | `fd00:c1::a9fe:a9fe` | Oracle Cloud | Oracle's SDK |
//! | `fd00:42::42` | Scaleway | cloud-init |
//! | `fd00:a9fe:a9fe::1` | Akamai (Linode) | cloud-init |

use std::net::{Ipv4Addr, Ipv6Addr};

const V4: [Ipv4Addr; 4] = [
    Ipv4Addr::new(168, 63, 129, 16),
    Ipv4Addr::new(100, 100, 100, 200),
    Ipv4Addr::new(192, 0, 0, 192),
    Ipv4Addr::new(100, 96, 0, 96),
];

/// Address and length of the prefix in bits.
const V6: [(Ipv6Addr, u32); 6] = [
    (Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0), 32),
    (Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254), 128),
    (Ipv6Addr::new(0xfd00, 0xc1, 0, 0, 0, 0, 0xa9fe, 0xa9fe), 128),
    (Ipv6Addr::new(0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42), 128),
    (Ipv6Addr::new(0xfd00, 0xa9fe, 0xa9fe, 0, 0, 0, 0, 1), 128),
    (Ipv6Addr::new(0xfd00, 0x100, 0, 0, 0, 0, 0x100, 0x200), 128),
];

/// Whether a cloud keeps secrets at this address.
pub fn is_metadata_v4(address: Ipv4Addr) -> bool {
    V4.contains(&address)
}

/// Whether a cloud keeps secrets at this address.
pub fn is_metadata_v6(address: Ipv6Addr) -> bool {
    V6.iter().any(|&(base, bits)| (u128::from(address) ^ u128::from(base)) >> (128 - bits) == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn n10_metadata_services_are_known_and_their_neighbours_are_not() {
        for address in ["fd00:ec2::254", "fd00:ec2::23", "fd20:ce::254", "fd00:c1::a9fe:a9fe", "fd00:42::42"] {
            assert!(is_metadata_v6(address.parse().unwrap()), "{address}");
        }
        for address in ["fd00:a9fe:a9fe::1", "fd00:100::100:200"] {
            assert!(is_metadata_v6(address.parse().unwrap()), "{address}");
        }
        for address in ["fd00:ec3::254", "fd20:ce::255", "fd00::1", "fd00:42::41", "2001:db8::254"] {
            assert!(!is_metadata_v6(address.parse().unwrap()), "{address}");
        }
        for address in ["100.100.100.200", "168.63.129.16", "192.0.0.192", "100.96.0.96"] {
            assert!(is_metadata_v4(address.parse().unwrap()), "{address}");
        }
        for address in ["100.100.100.100", "168.63.129.17", "192.0.0.1"] {
            assert!(!is_metadata_v4(address.parse().unwrap()), "{address}");
        }
    }
}
