//! Which packets a test's guest may send. These tests run in this computer's own network, so what the stack passes on goes to
//! somebody real. Whatever is wrong, in a test or in the stack, nothing may leave this computer. Called by `guest`.
//!
//! Two things must agree: the address is one that means nothing outside, and the rules say that no socket is opened for it
//! except to loopback. Multicast is left out, because the rules alone keep it here.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::super::packet::ETHERNET;
use super::super::policy::{Policy, Verdict};
use super::super::{HostAccess, plan};

/// Panics if the packet in `frame`, of whichever version it says it is, could leave this computer.
pub fn check(policy: Policy, frame: &[u8]) {
    if let Some(to) = destination(frame) {
        assert!(
            stays(policy, to),
            "a packet to {to} could leave this computer: use an address of `plan` or of loopback"
        );
    }
}

/// By the version in the packet: the frame's type may be a lie.
fn destination(frame: &[u8]) -> Option<IpAddr> {
    let ip = frame.get(ETHERNET..)?;
    match ip.first()? >> 4 {
        4 => Some(Ipv4Addr::from(<[u8; 4]>::try_from(ip.get(16..20)?).ok()?).into()),
        6 => Some(Ipv6Addr::from(<[u8; 16]>::try_from(ip.get(24..40)?).ok()?).into()),
        _ => None,
    }
}

fn stays(policy: Policy, to: IpAddr) -> bool {
    let means_nothing_outside = match to.to_canonical() {
        IpAddr::V4(v4) => v4.is_loopback() || v4.is_unspecified() || v4.is_broadcast() || v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unspecified(),
    };
    (means_nothing_outside || plan::is_on_link(to)) && policy.judge(to) != Verdict::Outside
}

#[test]
fn a_packet_that_could_leave_this_computer_is_never_sent() {
    for host_access in [HostAccess::No, HostAccess::Unprivileged, HostAccess::All] {
        let may = |to: &str| stays(Policy { host_access }, to.parse().unwrap());
        for to in ["192.0.2.1", "10.0.0.1", "172.17.0.1", "192.168.127.8", "8.8.8.8", "224.0.0.251", "168.63.129.16"] {
            assert!(!may(to), "{to}");
        }
        for to in ["2001:db8::1", "fd00::1", "fe80::1", "ff02::1", "fd6c:6967:6874:6573::1", "::ffff:192.0.2.1"] {
            assert!(!may(to), "{to}");
        }
        for to in ["192.168.127.1", "192.168.127.3", "192.168.127.4", "127.0.0.1", "0.0.0.0", "255.255.255.255"] {
            assert!(may(to), "{to}");
        }
        for to in ["fd6c:6967:6874:6572::1", "fd6c:6967:6874:6572::3", "::1", "::ffff:127.0.0.1", "169.254.169.254"] {
            assert!(may(to), "{to}");
        }
    }
}

#[tokio::test]
#[should_panic(expected = "could leave this computer")]
async fn the_guest_asks_before_each_packet() {
    let mut guest = super::guest::Guest::new(super::guest::LINUX, true, "");
    guest.send_udp(5000, "192.0.2.1:9".parse().unwrap(), b"anybody?").await;
}

#[tokio::test]
#[should_panic(expected = "could leave this computer")]
async fn a_frame_of_a_type_that_lies_is_asked_about_too() {
    let mut guest = super::guest::Guest::new(super::guest::LINUX, true, "");
    let ip = super::guest::packet(plan::GUEST_V6.into(), "2001:db8::1".parse().unwrap(), 59, b"");
    guest.send_frame([&plan::GATEWAY_MAC[..], &plan::GUEST_MAC, &[8, 0], &ip].concat()).await;
}
