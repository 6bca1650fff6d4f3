//! The name server against name servers made up here.

use std::net::Ipv4Addr;

use tokio::net::{TcpListener, UdpSocket};

use super::message::tests::query;
use super::message::{TYPE_A, TYPE_AAAA};
use super::*;

struct Lab {
    dns: Dns,
    _files: tempfile::TempDir,
}

fn lab(hosts: &str, resolv_conf: &str, host_access: bool) -> Lab {
    let files = tempfile::tempdir().unwrap();
    let (hosts_path, resolv_path) = (files.path().join("hosts"), files.path().join("resolv.conf"));
    std::fs::write(&hosts_path, hosts).unwrap();
    std::fs::write(&resolv_path, resolv_conf).unwrap();
    let host_access = if host_access { HostAccess::All } else { HostAccess::No };
    Lab { dns: Dns::new(hosts_path, resolv_path, Policy { host_access }), _files: files }
}

async fn addresses(lab: &Lab, name: &str, kind: u16) -> Vec<u8> {
    lab.dns.resolve(&query(9, name, kind), Transport::Datagram).await.unwrap()
}

#[tokio::test]
async fn names_of_ours_and_of_the_hosts_file_need_no_server() {
    let lab = lab("192.0.2.7 build\n127.0.0.1 localhost app.test\n::1 app.test\n", "", true);
    let tail = |answer: Vec<u8>| answer[answer.len() - 4..].to_vec();
    assert_eq!(tail(addresses(&lab, "host.docker.internal", TYPE_A).await), plan::HOST_V4.octets());
    assert_eq!(tail(addresses(&lab, "gateway.docker.internal", TYPE_A).await), plan::GATEWAY_V4.octets());
    assert_eq!(tail(addresses(&lab, "BUILD", TYPE_A).await), [192, 0, 2, 7]);
    assert_eq!(tail(addresses(&lab, "app.test", TYPE_A).await), plan::HOST_V4.octets());
    for (name, kind) in [("build", TYPE_AAAA), ("host.docker.internal", TYPE_AAAA), ("host.docker.internal", 16)] {
        let none = addresses(&lab, name, kind).await;
        assert_eq!((none[3] & 0xf, &none[6..8]), (0, &[0, 0][..]), "{name} {kind}");
    }
}

#[tokio::test]
async fn n10_without_host_access_no_name_leads_to_the_host() {
    let lab = lab("127.0.1.1 app.test\n", "", false);
    assert_eq!(addresses(&lab, "app.test", TYPE_A).await[6..8], [0, 0]);
}

#[tokio::test]
async fn n8_an_answer_with_another_id_or_question_is_not_taken() {
    let server = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = server.local_addr().unwrap();
    let asked = query(0x1234, "a.example", 65);
    let serving = async {
        let mut buffer = [0; 512];
        let (length, from) = server.recv_from(&mut buffer).await.unwrap();
        let received = buffer[..length].to_vec();
        assert_eq!(received[2..], asked[2..], "the question passes as it is");
        let right = Query::parse(&received).unwrap().fail(Code::None);
        let wrong_id = message::with_id(&right, message::id(&right).unwrap().wrapping_add(1));
        let other = query(message::id(&right).unwrap(), "b.example", 65);
        let wrong_question = Query::parse(&other).unwrap().fail(Code::None);
        for answer in [wrong_id, wrong_question, vec![], vec![0; 5], right] {
            server.send_to(&answer, from).await.unwrap();
        }
    };
    let parsed = Query::parse(&asked).unwrap();
    let servers = [address];
    let (answer, ()) = tokio::join!(upstream::ask(&servers, &parsed, &asked), serving);
    assert_eq!(answer.unwrap(), parsed.fail(Code::None));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_silent_gives_way_to_the_next_one() {
    let silent = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let server = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let servers = [silent.local_addr().unwrap(), server.local_addr().unwrap()];
    let asked = query(1, "a.example", TYPE_A);
    let parsed = Query::parse(&asked).unwrap();
    let serving = async {
        let mut buffer = [0; 512];
        let (length, from) = server.recv_from(&mut buffer).await.unwrap();
        let received = buffer[..length].to_vec();
        let answer = Query::parse(&received).unwrap().answer(&["192.0.2.1".parse().unwrap()]);
        server.send_to(&answer, from).await.unwrap();
    };
    let (answer, ()) = tokio::join!(upstream::ask(&servers, &parsed, &asked), serving);
    assert!(answer.is_some());
}

#[tokio::test]
async fn n8_64_kib_pass_over_a_stream() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let servers = [listener.local_addr().unwrap()];
    let asked = query(5, "large.example", 16);
    let parsed = Query::parse(&asked).unwrap();
    let serving = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let received = upstream::read(&mut stream).await.unwrap().unwrap();
        let mut answer = Query::parse(&received).unwrap().fail(Code::None);
        answer.resize(65_535, 7);
        upstream::write(&mut stream, &answer).await.unwrap();
    };
    let (answer, ()) = tokio::join!(upstream::ask_stream(&servers, &parsed, &asked), serving);
    let answer = answer.unwrap();
    assert_eq!((answer.len(), message::id(&answer)), (65_535, Some(5)));
}

#[tokio::test]
async fn questions_on_a_stream_are_answered_one_after_another() {
    let lab = lab("192.0.2.7 build\n", "", true);
    let (mut near, far) = tokio::io::duplex(256);
    let asking = async {
        for id in 0..20 {
            upstream::write(&mut near, &query(id, "build", TYPE_A)).await.unwrap();
            let answer = upstream::read(&mut near).await.unwrap().unwrap();
            assert_eq!((message::id(&answer), &answer[answer.len() - 4..]), (Some(id), &[192, 0, 2, 7][..]));
        }
        drop(near);
    };
    tokio::join!(lab.dns.serve_stream(far, plan::GUEST_V4.into()), asking);
}

#[tokio::test]
async fn a_question_that_nobody_answers_gets_an_error_at_once_when_all_servers_refuse() {
    // A port that was just free: nobody listens there.
    let gone = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap().local_addr().unwrap();
    let asked = query(1, "a.example", TYPE_A);
    assert_eq!(upstream::ask(&[gone], &Query::parse(&asked).unwrap(), &asked).await, None);
}

#[tokio::test(start_paused = true)]
async fn n8_whoever_does_not_read_its_answers_loses_the_stream_and_keeps_no_place() {
    let lab = lab("192.0.2.7 build\n", "", true);
    // Less room than an answer needs.
    let (mut near, far) = tokio::io::duplex(30);
    let asking = async {
        upstream::write(&mut near, &query(1, "build", TYPE_A)).await.unwrap();
        tokio::time::sleep(IDLE / 2).await;
        assert_eq!(format!("{:?}", lab.dns.places), "Places(0)", "a place is held while nobody reads");
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = lab.dns.serve_stream(far, plan::GUEST_V4.into()) => {}
        () = asking => {}
        () = tokio::time::sleep(3 * IDLE) => panic!("the stream is still served"),
    }
}

#[tokio::test]
async fn n8_a_hundred_thousand_unanswered_questions_of_one_container_keep_no_other_from_asking() {
    // Takes every question and never answers.
    let silent = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let mut lab = lab("192.0.2.7 build\n", &silent.local_addr().unwrap().to_string(), true);
    let path = lab._files.path().join("resolv.conf");
    lab.dns.resolver =
        Watched::new(path, |text| Resolver { servers: text.parse().into_iter().collect(), search: Vec::new() });
    let (dns, (guest, link)) = (Arc::new(lab.dns), lighter_vmm::virtio::net::ends());
    let egress = Egress::new(link.sender());
    let gateway = SocketAddr::from((plan::GATEWAY_V4, plan::DNS_PORT));
    for id in 0..100_000u32 {
        let question = query(id as u16, &format!("n{id}.example"), TYPE_A);
        dns.receive(&question, SocketAddr::from(([172, 17, 0, 66], 5000)), gateway, &egress);
        if id % 1000 == 0 {
            tokio::task::yield_now().await;
        }
    }
    assert_eq!(format!("{:?}", dns.places), format!("Places({MOST})"));
    for port in 5000..5020 {
        dns.receive(&query(7, "build", TYPE_A), SocketAddr::from(([172, 17, 0, 3], port)), gateway, &egress);
        let frame = loop {
            match guest.next_frame() {
                Some(frame) => break frame,
                None => tokio::time::sleep(std::time::Duration::from_millis(1)).await,
            }
        };
        assert!(frame.bytes.ends_with(&[192, 0, 2, 7]), "port {port}");
    }
}

/// A name server that knows one name's address; what it was asked.
async fn knows(name: &'static str, address: [u8; 4]) -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let server = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let (at, asked) = (server.local_addr().unwrap(), Arc::new(Mutex::new(Vec::new())));
    let heard = Arc::clone(&asked);
    tokio::spawn(async move {
        let mut buffer = [0; 512];
        loop {
            let (length, from) = server.recv_from(&mut buffer).await.unwrap();
            let query = Query::parse(&buffer[..length]).unwrap();
            let answer = if query.name == name { query.answer(&[address.into()]) } else { query.fail(Code::Server) };
            heard.lock().unwrap().push(query.name);
            server.send_to(&answer, from).await.unwrap();
        }
    });
    (at, asked)
}

#[tokio::test]
async fn short_names_are_found_in_search_domains_that_come_after_the_start() {
    let (server, asked) = knows("build.vpn.example", [192, 0, 2, 7]).await;
    let mut lab = lab("", "", true);
    let path = lab._files.path().join("resolv.conf");
    // An address with a port, which the real file has no place for, and domains.
    lab.dns.resolver = Watched::new(path.clone(), |text| {
        let mut words = text.split(' ').map(str::to_owned);
        let servers = words.next().and_then(|word| word.parse().ok()).into_iter().collect();
        Resolver { servers, search: words.collect() }
    });
    std::fs::write(&path, format!("{server} home.example")).unwrap();
    assert_eq!(lab.dns.search(), ["home.example"]);
    let heard = || std::mem::take(&mut *asked.lock().unwrap());
    // What the guest was told it has tried by itself.
    let none = addresses(&lab, "build", TYPE_A).await;
    assert_eq!((none[3] & 0xf, heard()), (2, vec!["build".to_owned()]));

    std::fs::write(&path, format!("{server} dead.example vpn.example home.example")).unwrap();
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(2)).await;
    tokio::time::resume();
    let found = addresses(&lab, "build", TYPE_A).await;
    assert_eq!((&found[6..8], &found[found.len() - 4..]), (&[0, 1][..], &[192, 0, 2, 7][..]));
    assert_eq!(heard(), ["build", "build.dead.example", "build.vpn.example"]);
    // Not beside a name that there is, which has another kind of address only.
    let (there, asked_there) = knows("nas", [192, 0, 2, 8]).await;
    std::fs::write(&path, format!("{there} vpn.example")).unwrap();
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(2)).await;
    tokio::time::resume();
    let none = addresses(&lab, "nas", TYPE_AAAA).await;
    assert_eq!((none[3] & 0xf, asked_there.lock().unwrap().clone()), (0, vec!["nas".to_owned()]));
    std::fs::write(&path, format!("{server} dead.example vpn.example home.example")).unwrap();
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(2)).await;
    tokio::time::resume();
    // Neither a longer name nor another kind of record is looked for elsewhere.
    addresses(&lab, "build.sub", TYPE_A).await;
    addresses(&lab, "build", 16).await;
    assert_eq!(heard(), ["build.sub", "build"]);
    // A machine that starts now is told all of them.
    assert_eq!(lab.dns.search(), ["dead.example", "vpn.example", "home.example"]);
    addresses(&lab, "build", TYPE_A).await;
    assert_eq!(heard(), ["build"]);
}
