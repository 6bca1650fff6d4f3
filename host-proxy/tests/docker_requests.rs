//! The Docker API proxy with ordinary requests: what goes in comes out, what is not a request is refused, and
//! connections live exactly as long as both sides want them to (catalogue H1–H4, H8).
#![allow(clippy::unwrap_used, missing_docs)]

mod stand_in;

use stand_in::{Machine, soon};

/// Header case, order, spacing and odd but legal things that a parser would tidy up.
const ODD_REQUEST: &str = "GET //v1.45/../%2e%2e/containers/json?all=1&f=%7B%7D HTTP/1.1\r\nHOST:api.moby.localhost\r\n\
    x-B: 2  \r\nX-a:\t1\r\nx-B: 3\r\nUser-Agent: Docker-Client/28.2.2 (linux)\r\nConnection: keep-alive, TE\r\n\r\n";
const ODD_ANSWER: &str = "HTTP/1.1 200 Fine, thanks\r\nserver: Docker/26.1.5 (linux)\r\nAPI-version:  1.45\r\n\
    Content-length: 5\r\nX-Empty:\r\n\r\nhello";

#[tokio::test]
async fn bytes_pass_unchanged_and_connections_are_kept() {
    let mut machine = Machine::new();
    let (mut client, served) = machine.client();
    client.send(ODD_REQUEST).await;
    let mut engine = machine.engine().await;
    engine.expect(ODD_REQUEST).await;
    engine.send(ODD_ANSWER).await;
    client.expect(ODD_ANSWER).await;

    client.send("POST http://docker/v1.45/x HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc").await;
    engine.expect("POST http://docker/v1.45/x HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc").await;
    engine.send("HTTP/1.1 204 \r\nContent-Length: 7\r\n\r\n").await;
    client.expect("HTTP/1.1 204 \r\nContent-Length: 7\r\n\r\n").await;

    client.send("GET /a HTTP/1.1\r\n\r\n").await;
    engine.expect("GET /a HTTP/1.1\r\n\r\n").await;
    machine.assert_never_dialed_again();
    drop(client);
    drop(engine);
    soon("task", served).await.unwrap();
}
