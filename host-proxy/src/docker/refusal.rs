//! Answers that the proxy gives itself, in dockerd's own form, so that `docker` prints them as it prints any error.
//! Each ends its connection, and only after the client had the time to read it.

use std::time::Duration;

use tokio::time::timeout;

use super::{head::HeadError, peer::Peer};
use crate::guest::Stream;

/// How long a closed connection is still drained. Closing with unread bytes would take the answer away from a client
/// that is still busy uploading.
const LINGER: Duration = Duration::from_secs(10);

/// An HTTP error with a message for a person.
#[derive(Debug)]
pub(super) struct Refusal {
    status: &'static str,
    message: String,
}

impl Refusal {
    /// What the client sent cannot be passed on.
    pub(super) fn bad_request(cause: &dyn std::fmt::Display) -> Refusal {
        Refusal { status: "400 Bad Request", message: format!("the request is malformed: {cause}") }
    }

    pub(super) fn head(error: HeadError) -> Refusal {
        let status = match error {
            HeadError::TooLong => "431 Request Header Fields Too Large",
            // As dockerd has it; nothing else of HTTP/1.1 would be refused so.
            HeadError::TransferEncoding => "501 Not Implemented",
            HeadError::Version => "505 HTTP Version Not Supported",
            _ => return Refusal::bad_request(&error),
        };
        Refusal { status, message: format!("the request is malformed: {error}") }
    }

    /// It breaks no rule of HTTP, but this.
    pub(super) fn not_like_this(reason: String) -> Refusal {
        Refusal { status: "400 Bad Request", message: reason }
    }

    pub(super) fn too_large(limit: usize) -> Refusal {
        let message =
            format!("the request's body is longer than {} MiB, and mounts in it cannot be looked for", limit >> 20);
        Refusal { status: "413 Request Entity Too Large", message }
    }

    pub(super) fn slow_body(limit: Duration) -> Refusal {
        let message = format!("the request's body did not arrive within {} s", limit.as_secs());
        Refusal { status: "408 Request Timeout", message }
    }

    pub(super) fn slow_head(limit: Duration) -> Refusal {
        let message = format!("the request's head did not arrive within {} s", limit.as_secs());
        Refusal { status: "408 Request Timeout", message }
    }

    /// There is no guest to ask.
    pub(super) fn unreachable(cause: &std::io::Error) -> Refusal {
        let message = format!(
            "lighter cannot reach the Docker engine in its machine: {cause}. \
             `lighter status` shows the machine's state, `lighter logs` says why"
        );
        Refusal { status: "503 Service Unavailable", message }
    }

    /// The guest answered with something that is no answer, or not at all.
    pub(super) fn bad_gateway(cause: &dyn std::fmt::Display) -> Refusal {
        let message = format!("the Docker engine gave no proper answer: {cause}. `lighter logs` may say why");
        Refusal { status: "502 Bad Gateway", message }
    }

    fn text(&self, with_body: bool) -> String {
        let body = format!("{}\n", serde_json::json!({ "message": self.message }));
        let head = format!(
            "HTTP/1.1 {}\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
            self.status,
            body.len()
        );
        if with_body { head + &body } else { head }
    }

    /// Sends the answer; the connection must be [`close`]d behind it.
    pub(super) async fn send<S: Stream>(&self, client: &mut Peer<S>, to_head: bool) {
        tracing::debug!(status = self.status, message = self.message, "refused");
        let text = self.text(!to_head);
        // A client that does not read its answer loses it.
        let _ = timeout(LINGER, client.outlet.send_all(text.as_bytes())).await;
    }
}

/// Ends a connection towards the client without losing what was sent: half-close, then read on until it closes too.
pub(super) async fn close<S: Stream>(mut client: Peer<S>) {
    let drained = async {
        client.outlet.close().await?;
        while !client.inlet.ended() {
            let unread = client.inlet.bytes().len();
            client.inlet.consume(unread);
            client.inlet.fill().await?;
        }
        std::io::Result::Ok(())
    };
    let _ = timeout(LINGER, drained).await;
}
