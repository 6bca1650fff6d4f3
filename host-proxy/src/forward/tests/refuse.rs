//! Ports that cannot be published, and what is said of them.

use super::*;

#[tokio::test]
async fn h11_a_port_in_use_is_refused_with_who_has_it() {
    let guest = Guest::new(LINUX, true, "");
    let host = Host::new(Some(guest.inward()));
    let other = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let number = other.local_addr().unwrap().port();
    let said = host.refusal(port(Transport::Tcp, "0.0.0.0", number)).await;
    assert!(said.contains(&format!("127.0.0.1:{number}/tcp is in use by another program")), "{said}");
    drop(other);
    // The same twice; then it is free again as soon as the first one has been given up.
    let call = host.publish(port(Transport::Tcp, "0.0.0.0", number)).await;
    let said = host.refusal(port(Transport::Tcp, "127.0.0.1", number)).await;
    assert!(said.contains("is published for the container at 192.168.127.2:80 already"), "{said}");
    let datagrams = host.publish(port(Transport::Udp, "127.0.0.1", number)).await;
    assert_eq!(host.list.all().len(), 2, "the two protocols have ports of their own");
    give_up(call).await;
    give_up(host.publish(port(Transport::Tcp, "127.0.0.1", number)).await).await;
    give_up(datagrams).await;
    assert!(host.list.all().is_empty());
}

#[tokio::test]
async fn h11_host_addresses_that_are_none_of_this_computer_are_refused_to_tcp() {
    host_addresses_that_are_none_of_this_computer_are_refused(Transport::Tcp).await;
}

#[tokio::test]
async fn h11_host_addresses_that_are_none_of_this_computer_are_refused_to_udp() {
    host_addresses_that_are_none_of_this_computer_are_refused(Transport::Udp).await;
}

async fn host_addresses_that_are_none_of_this_computer_are_refused(protocol: Transport) {
    let guest = Guest::new(LINUX, true, "");
    let host = Host::new(Some(guest.inward()));
    for (address, words) in [
        ("192.0.2.1", "192.0.2.1 is no address of this computer"),
        ("2001:db8::1", "2001:db8::1"),
        ("224.0.0.1", "no address that a port can be published on"),
        ("255.255.255.255", "no address that a port can be published on"),
        ("ff02::1", "no address that a port can be published on"),
        ("::ffff:127.0.0.1", "no address that a port can be published on"),
        ("fe80::1", "fe80::1"),
    ] {
        let said = host.refusal(port(protocol, address, 40_080)).await;
        assert!(said.contains(words), "{address}: {said}");
    }
    assert!(host.list.all().is_empty());
}

#[tokio::test]
async fn h11_port_zero_sctp_and_a_machine_without_network_are_refused_by_name() {
    let guest = Guest::new(LINUX, true, "");
    let host = Host::new(Some(guest.inward()));
    assert!(host.refusal(port(Transport::Tcp, "0.0.0.0", 0)).await.contains("no port 0"));
    let zero = Port { container_port: 0, ..port(Transport::Udp, "0.0.0.0", 80) };
    assert!(host.refusal(zero).await.contains("no port 0"));
    assert!(host.refusal(port(Transport::Sctp, "0.0.0.0", 80)).await.contains("no sctp"));
    let host = Host::new(None);
    assert!(host.refusal(port(Transport::Tcp, "0.0.0.0", 80)).await.contains("`network = true` in config.toml"));
}
