//! What is open on the network between guest and host: every UDP port asked, and the README's table against the constants.
//! TCP is asked in `hostile`.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use super::super::packet::UDP;
use super::super::{HOST_NAME, HostAccess, plan};
use super::guest::{Guest, LINUX};
use super::udp::question;

/// Questions on their way at the same time: half of what the link holds, because answers beyond that are dropped.
const AT_ONCE: usize = lighter_vmm::virtio::net::QUEUED_FRAMES / 2;

/// Asks every port of `destination` for a name of the hosts file; the ports that answered. All others must have refused by an
/// ICMP message of this type and code that quotes the question.
async fn answering_ports(guest: &mut Guest, destination: IpAddr, refusal: [u8; 2]) -> BTreeSet<u16> {
    let (mut open, mut refused) = (BTreeSet::new(), BTreeSet::new());
    let asked = question("build");
    let ports: Vec<u16> = (1..=u16::MAX).collect();
    for ports in ports.chunks(AT_ONCE) {
        for &port in ports {
            guest.send_udp(5000, SocketAddr::new(destination, port), &asked).await;
        }
        let wanted = open.len() + refused.len() + ports.len();
        let all = |guest: &mut Guest| {
            for answer in guest.others() {
                assert_eq!(answer.source, destination);
                let half = |at: usize| u16::from_be_bytes([answer.payload()[at], answer.payload()[at + 1]]);
                let is_new = if answer.protocol == UDP {
                    assert!(answer.payload().ends_with(&[192, 0, 2, 7]), "an answer to another question");
                    open.insert(half(0))
                } else {
                    assert_eq!(answer.payload()[..2], refusal, "{destination}");
                    // Behind the message's own header and that of the packet it quotes.
                    refused.insert(half(8 + if destination.is_ipv4() { 22 } else { 42 }))
                };
                assert!(is_new, "one question, two answers");
            }
            open.len() + refused.len() == wanted
        };
        guest.until("an answer or a refusal of every port", all).await;
    }
    assert!(open.is_disjoint(&refused), "a port answered and refused");
    open
}

#[tokio::test]
async fn g14_of_all_udp_ports_of_the_virtual_addresses_only_the_name_server_answers() {
    const PORT_UNREACHABLE: [[u8; 2]; 2] = [[3, 3], [1, 4]];
    const PROHIBITED: [[u8; 2]; 2] = [[3, 13], [1, 1]];
    // Without access to the host nothing is sent to this computer's own services; which of the alias's ports are refused
    // with it is for `policy` alone to say, and tested there.
    let mut guest = Guest::new(LINUX, false, "192.0.2.7 build\n").without_client();
    let mut found = BTreeSet::new();
    for (address, refusal) in [
        (IpAddr::from(plan::GATEWAY_V4), PORT_UNREACHABLE[0]),
        (plan::GATEWAY_V6.into(), PORT_UNREACHABLE[1]),
        (plan::HOST_V4.into(), PROHIBITED[0]),
        (plan::HOST_V6.into(), PROHIBITED[1]),
    ] {
        let open = answering_ports(&mut guest, address, refusal).await;
        found.extend(open.into_iter().map(|port| SocketAddr::new(address, port)));
    }
    let allowed = [IpAddr::from(plan::GATEWAY_V4), plan::GATEWAY_V6.into()];
    assert_eq!(found, allowed.map(|address| SocketAddr::new(address, plan::DNS_PORT)).into());
}

/// Cells of the README's rows about the addresses of the plan, but for what is said in words.
fn rows() -> Vec<Vec<String>> {
    let readme = include_str!("../../../../README.md");
    let table = readme.lines().skip_while(|line| !line.starts_with("| address | name | port | protocol |")).skip(2);
    let cells = |line: &str| line.split('|').skip(1).take(4).map(|cell| cell.trim().to_owned()).collect();
    table.take_while(|line| line.starts_with('|')).map(cells).collect()
}

#[test]
fn the_readme_lists_what_the_constants_say() {
    let first = (0..=u16::MAX).find(|&port| HostAccess::Unprivileged.allows(port)).unwrap();
    let both = |v4: std::net::Ipv4Addr, v6: std::net::Ipv6Addr| format!("`{v4}`, `{v6}`");
    let gateway = both(plan::GATEWAY_V4, plan::GATEWAY_V6);
    let alias = both(plan::HOST_V4, plan::HOST_V6);
    let (router, host) = ("`gateway.docker.internal`".to_owned(), format!("`{HOST_NAME}`"));
    let want = [
        [gateway.clone(), router.clone(), plan::DNS_PORT.to_string(), "UDP, TCP".to_owned()],
        [gateway, router, "–".to_owned(), "echo".to_owned()],
        [alias.clone(), host.clone(), format!("{first}–{}", u16::MAX), "TCP, UDP".to_owned()],
        [alias.clone(), host.clone(), format!("1–{}", first - 1), "TCP, UDP".to_owned()],
        [alias, host, "–".to_owned(), "echo".to_owned()],
        [both(plan::GUEST_V4, plan::GUEST_V6), String::new(), "–".to_owned(), "–".to_owned()],
    ];
    assert_eq!(rows(), want);
    let readme = include_str!("../../../../README.md");
    for network in
        [format!("{}/{}", "192.168.127.0", plan::PREFIX_V4), format!("fd6c:6967:6874:6572::/{}", plan::PREFIX_V6)]
    {
        assert!(readme.contains(&format!("`{network}`")), "the README does not name {network}");
        assert!(plan::is_on_link(network.split('/').next().unwrap().parse().unwrap()));
    }
}
