//! Requests, answers and refusals as whole sentences, for tests that care about more than single bytes.

use super::{End, Machine};

pub const GET: &str = "GET /_ping HTTP/1.1\r\nHost: x\r\n\r\n";
pub const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK";

/// `request` reaches dockerd and `answer` reaches the client, both exactly.
pub async fn exchange(client: &mut End, engine: &mut End, request: &str, answer: &str) {
    client.send(request).await;
    engine.expect(request).await;
    engine.send(answer).await;
    client.expect(answer).await;
}

/// The first request of a connection reaches dockerd exactly.
pub async fn asked(machine: &mut Machine, client: &mut End, request: &str) -> End {
    client.send(request).await;
    let mut engine = machine.engine().await;
    engine.expect(request).await;
    engine
}

/// The proxy's own answer: its status line, and that it is an error as dockerd writes them, the last of its connection.
pub async fn refusal(client: &mut End) -> (String, String) {
    let head = client.head().await;
    assert!(head.contains("\r\nConnection: close\r\n"), "{head}");
    let body = String::from_utf8(client.rest().await).unwrap();
    assert!(head.contains(&format!("\r\nContent-Length: {}\r\n", body.len())), "{head}{body}");
    let json: serde_json::Value = serde_json::from_str(&body).unwrap();
    (head.lines().next().unwrap().to_owned(), json["message"].as_str().unwrap().to_owned())
}
