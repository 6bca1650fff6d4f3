//! Callers without the secret, without a word, or with too many; and nothing that is left when ports have come and gone.

use proptest::prelude::*;

use super::*;

#[tokio::test]
async fn a2_without_the_secret_nobody_is_heard() {
    let guest = Guest::new(LINUX, true, "");
    let host = Host::new(Some(guest.inward()));
    let number = free().await;
    for secret in ["", "5ec2e8", "5ec2e", "5ec2e77"] {
        let publish = Publish { secret: secret.to_owned(), port: port(Transport::Tcp, "0.0.0.0", number) };
        gone(host.say(&wire::encode(&publish).unwrap()).await).await;
    }
    assert!(host.list.all().is_empty());
}

/// So many silent callers that none is left to listen to: they are hung up on in time for dockerd's patience.
#[tokio::test(start_paused = true)]
async fn a1_callers_who_say_nothing_do_not_keep_the_door() {
    let guest = Guest::new(LINUX, true, "");
    let host = Host::new(Some(guest.inward()));
    let mut silent = Vec::new();
    for _ in 0..3 * MOST_CALLERS {
        silent.push(host.say(b"\x40\0\0").await);
    }
    host.publish(port(Transport::Tcp, "0.0.0.0", free().await)).await;
}

#[tokio::test]
async fn h11_a_port_to_which_nobody_comes_takes_no_room_from_others() {
    let guest = Guest::new(LINUX, true, "");
    let inward = guest.inward();
    let host = Host::new(Some(inward.clone()));
    let rooms = inward.rooms();
    let mut calls = Vec::new();
    for _ in 0..20 {
        calls.push(host.publish(port(Transport::Tcp, "0.0.0.0", free().await)).await);
    }
    // Each listener's task has had its turn when the next port's answer has come.
    tokio::task::yield_now().await;
    assert_eq!(inward.rooms(), rooms);
    for call in calls {
        give_up(call).await;
    }
}

#[tokio::test]
async fn h11_a_thousand_ports_come_and_go_and_leave_nothing() {
    let guest = Guest::new(LINUX, true, "");
    let host = Host::new(Some(guest.inward()));
    let descriptors = || std::fs::read_dir("/proc/self/fd").map(Iterator::count).ok();
    // What the runtime opens once is open then.
    give_up(host.publish(port(Transport::Tcp, "127.0.0.1", free().await)).await).await;
    let before = descriptors();
    let number = free().await;
    for round in 0..1000 {
        let protocol = if round % 2 == 0 { Transport::Tcp } else { Transport::Udp };
        // The very same port each time: if it were held a moment longer, the next round would be refused.
        let call = host.publish(port(protocol, "127.0.0.1", number)).await;
        match round % 3 {
            0 => give_up(call).await,
            1 => {
                let asks = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
                let _ = asks.send_to(b"x", (Ipv4Addr::LOCALHOST, number));
                give_up(call).await;
            }
            // A client that is being joined when the port goes.
            _ => {
                let client = TcpStream::connect((Ipv4Addr::LOCALHOST, number)).await;
                give_up(call).await;
                drop(client);
            }
        }
    }
    assert!(host.list.all().is_empty());
    drop(host);
    let end = tokio::time::Instant::now() + DEADLINE;
    while descriptors() != before {
        assert!(tokio::time::Instant::now() < end, "{before:?} descriptors became {:?}", descriptors());
        tokio::task::yield_now().await;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a1_a4_whatever_a_caller_says_the_next_one_is_served(bytes in prop::collection::vec(any::<u8>(), 0..300), framed: bool) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let guest = Guest::new(LINUX, true, "");
            let host = Host::new(Some(guest.inward()));
            let length = (bytes.len() as u32).to_le_bytes();
            let said = if framed { [&length[..], &bytes].concat() } else { bytes };
            let _call = host.say(&said).await;
            host.publish(port(Transport::Tcp, "127.0.0.1", free().await)).await;
        });
    }
}
