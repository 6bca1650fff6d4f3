//! HTTP as clients may speak it: versions, persistence, pipelining, chunks, `Expect`, absolute targets, malformed heads. Here
//! requests are written by hand, and what is recorded is what comes on the wire.

use anyhow::{Result, ensure};

use crate::ask::Show;
use crate::case::cases;
use crate::lab::{Lab, Length};
use crate::reply::{Framing, Head, Reply};
use crate::wire::Wire;

cases! { "framing":
    http_1_0_closes, http_1_0_keep_alive, http_1_1_keeps_alive, connection_close_is_obeyed, pipelined_requests_are_answered_in_order,
    absolute_form, asterisk_form, head_of_a_list_has_no_body, chunked_upload, chunked_upload_with_extensions_and_trailers,
    expect_continue, expect_continue_refused_without_a_body, expect_nonsense, content_type_missing, content_type_wrong,
    content_type_with_charset, unknown_fields_are_ignored, get_with_a_body, empty_lines_before_a_request, host_missing, host_twice,
    bare_line_feeds, a_word_is_no_request, two_lengths, unknown_transfer_coding, unknown_http_version, many_headers,
    kept_alive_after_an_error, half_closed_behind_the_request, client_leaves_in_the_middle_of_a_body, upgrade_to_nonsense, http_2_with_prior_knowledge,
}

/// Sends `bytes` and records the answers to them: one for each method, then whether the connection is still open.
fn talk(lab: &mut Lab, bytes: &str, methods: &[&str]) -> Result<(Vec<Reply>, Wire)> {
    lab.note(&format!("> {}", bytes.replace("\r\n", "\n")));
    let mut wire = lab.connect()?;
    wire.send(bytes.as_bytes())?;
    let mut replies = Vec::new();
    for method in methods {
        let reply = Reply::read(&mut wire, method)?;
        lab.note_reply(&reply, Show::Exact);
        replies.push(reply);
    }
    Ok((replies, wire))
}

/// Insists that the peer has closed the connection.
fn closed(lab: &mut Lab, wire: &mut Wire) -> Result<()> {
    let rest = wire.rest()?;
    ensure!(rest.is_empty(), "behind the last answer came {:?}", rest.escape_ascii());
    lab.note("< (closed)");
    Ok(())
}

/// Insists that the connection serves one more request.
fn open(lab: &mut Lab, wire: &mut Wire) -> Result<()> {
    wire.send(b"GET /_ping HTTP/1.1\r\nHost: docker\r\n\r\n")?;
    let reply = Reply::read(wire, "GET")?;
    ensure!(reply.body == b"OK", "the next request was answered {:?}", reply.text());
    lab.note("< (open)");
    Ok(())
}

fn http_1_0_closes(lab: &mut Lab) -> Result<()> {
    let (replies, mut wire) = talk(lab, "GET /_ping HTTP/1.0\r\n\r\n", &["GET"])?;
    ensure!(replies[0].head.framing("GET")? != Framing::Chunked, "chunks for HTTP/1.0");
    closed(lab, &mut wire)
}

fn http_1_0_keep_alive(lab: &mut Lab) -> Result<()> {
    let (_, mut wire) = talk(lab, "GET /_ping HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", &["GET"])?;
    open(lab, &mut wire)
}

fn http_1_1_keeps_alive(lab: &mut Lab) -> Result<()> {
    let (_, mut wire) = talk(lab, "GET /v1.45/version HTTP/1.1\r\nHost: x\r\n\r\n", &["GET"])?;
    open(lab, &mut wire)?;
    open(lab, &mut wire)
}

fn connection_close_is_obeyed(lab: &mut Lab) -> Result<()> {
    let (_, mut wire) = talk(lab, "GET /_ping HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", &["GET"])?;
    closed(lab, &mut wire)
}

fn pipelined_requests_are_answered_in_order(lab: &mut Lab) -> Result<()> {
    let three = "GET /_ping HTTP/1.1\r\nHost: x\r\n\r\nHEAD /_ping HTTP/1.1\r\nHost: x\r\n\r\n\
                 POST /v1.45/containers/create HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}";
    let (replies, mut wire) = talk(lab, three, &["GET", "HEAD", "POST"])?;
    let statuses: Vec<u16> = replies.iter().map(|reply| reply.head.status).collect();
    ensure!(statuses == [200, 200, 400], "{statuses:?}");
    open(lab, &mut wire)
}

fn absolute_form(lab: &mut Lab) -> Result<()> {
    let (replies, _) = talk(lab, "GET http://docker/v1.45/_ping HTTP/1.1\r\nHost: other\r\n\r\n", &["GET"])?;
    ensure!(replies[0].head.status == 200, "{}", replies[0].head.line);
    Ok(())
}

fn asterisk_form(lab: &mut Lab) -> Result<()> {
    talk(lab, "OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", &["OPTIONS"]).map(drop)
}

fn head_of_a_list_has_no_body(lab: &mut Lab) -> Result<()> {
    let (_, mut wire) = talk(lab, "HEAD /v1.45/containers/json HTTP/1.1\r\nHost: x\r\n\r\n", &["HEAD"])?;
    open(lab, &mut wire)
}

const CREATE: &str = "POST /v1.45/volumes/create HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n";

fn chunked_upload(lab: &mut Lab) -> Result<()> {
    lab.later("DELETE", "/volumes/cf-chunked");
    let chunks = "6\r\n{\"Name\r\n10\r\n\":\"cf-chunked\"} \r\n0\r\n\r\n";
    let text = format!("{CREATE}Transfer-Encoding: chunked\r\n\r\n{chunks}");
    let (replies, mut wire) = talk(lab, &text, &["POST"])?;
    ensure!(replies[0].head.status == 201, "{}", replies[0].head.line);
    open(lab, &mut wire)
}

fn chunked_upload_with_extensions_and_trailers(lab: &mut Lab) -> Result<()> {
    lab.later("DELETE", "/volumes/cf-trailers");
    let chunks = "18;note=\"x y\"\r\n{\"Name\":\"cf-trailers\"}  \r\n0\r\nDigest: none\r\n\r\n";
    let text = format!("{CREATE}Transfer-Encoding: chunked\r\nTrailer: Digest\r\n\r\n{chunks}");
    let (replies, mut wire) = talk(lab, &text, &["POST"])?;
    ensure!(replies[0].head.status == 201, "{}", replies[0].head.line);
    open(lab, &mut wire)
}

fn expect_continue(lab: &mut Lab) -> Result<()> {
    lab.later("DELETE", "/volumes/cf-expect");
    let mut wire = lab.connect()?;
    wire.send(format!("{CREATE}Expect: 100-continue\r\nContent-Length: 20\r\n\r\n").as_bytes())?;
    let interim = Head::read(&mut wire)?;
    lab.note_head(&interim, Length::Exact);
    ensure!(interim.status == 100, "{}", interim.line);
    wire.send(b"{\"Name\":\"cf-expect\"}")?;
    let mut head = Head::read(&mut wire)?;
    while head.status == 100 {
        lab.note("< (100 once more)");
        head = Head::read(&mut wire)?;
    }
    let reply = Reply::rest(head, &mut wire, "POST")?;
    lab.note_reply(&reply, Show::Exact);
    ensure!(reply.head.status == 201, "{}", reply.head.line);
    open(lab, &mut wire)
}

fn expect_continue_refused_without_a_body(lab: &mut Lab) -> Result<()> {
    let head = "POST /v1.45/nothing/here HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 20\r\n\r\n";
    let (replies, mut wire) = talk(lab, head, &["POST"])?;
    ensure!(replies[0].head.status == 404, "{}", replies[0].head.line);
    // A client that has seen the answer need not send the body. One that does may go on, unless the peer has closed.
    let sent = wire.send(&[b'x'; 20]).and_then(|()| open(lab, &mut wire));
    if sent.is_err() {
        lab.note("< (closed)");
    }
    Ok(())
}

fn expect_nonsense(lab: &mut Lab) -> Result<()> {
    let (replies, _) = talk(lab, "GET /_ping HTTP/1.1\r\nHost: x\r\nExpect: a-miracle\r\n\r\n", &["GET"])?;
    ensure!(replies[0].head.status == 417, "{}", replies[0].head.line);
    Ok(())
}

fn create_as(lab: &mut Lab, content_type: &str, name: &str, status: u16) -> Result<()> {
    lab.later("DELETE", format!("/volumes/{name}"));
    let body = format!("{{\"Name\":\"{name}\",\"Colour\":{{\"deep\":[1,null]}}}}");
    lab.post("/volumes/create").body(content_type, body.into_bytes()).expect(status).map(drop)
}

fn content_type_missing(lab: &mut Lab) -> Result<()> {
    create_as(lab, "", "cf-untyped", 400)
}

fn content_type_wrong(lab: &mut Lab) -> Result<()> {
    create_as(lab, "text/plain", "cf-plain", 400)
}

fn content_type_with_charset(lab: &mut Lab) -> Result<()> {
    create_as(lab, "application/json; charset=utf-8", "cf-charset", 201)
}

fn unknown_fields_are_ignored(lab: &mut Lab) -> Result<()> {
    create_as(lab, "application/json", "cf-unknown", 201)
}

fn get_with_a_body(lab: &mut Lab) -> Result<()> {
    let (_, mut wire) = talk(lab, "GET /v1.45/_ping HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello", &["GET"])?;
    open(lab, &mut wire)
}

fn empty_lines_before_a_request(lab: &mut Lab) -> Result<()> {
    malformed(lab, "\r\nGET /_ping HTTP/1.1\r\nHost: x\r\n\r\n", &[400])
}

fn host_missing(lab: &mut Lab) -> Result<()> {
    let (replies, mut wire) = talk(lab, "GET /_ping HTTP/1.1\r\n\r\n", &["GET"])?;
    ensure!(replies[0].head.status == 400, "{}", replies[0].head.line);
    closed(lab, &mut wire)
}

fn host_twice(lab: &mut Lab) -> Result<()> {
    let (replies, mut wire) = talk(lab, "GET /_ping HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", &["GET"])?;
    ensure!(replies[0].head.status == 400, "{}", replies[0].head.line);
    closed(lab, &mut wire)
}

/// A malformed head. Whoever reads it first refuses it in words of its own, so only the status and the end are recorded.
fn malformed(lab: &mut Lab, bytes: &str, statuses: &[u16]) -> Result<()> {
    lab.note(&format!("> {bytes}"));
    let mut wire = lab.connect()?;
    wire.send(bytes.as_bytes())?;
    let reply = Reply::read(&mut wire, "GET")?;
    lab.note(&format!("< {}", reply.head.status));
    ensure!(statuses.contains(&reply.head.status), "{} instead of {statuses:?}", reply.head.line);
    closed(lab, &mut wire)
}

fn bare_line_feeds(lab: &mut Lab) -> Result<()> {
    // RFC 9112 lets a reader take it for a line's end; nobody sends it.
    talk(lab, "GET /_ping HTTP/1.1\nHost: x\n\n", &["GET"]).map(drop)
}

fn a_word_is_no_request(lab: &mut Lab) -> Result<()> {
    malformed(lab, "hello\r\n\r\n", &[400])
}

fn two_lengths(lab: &mut Lab) -> Result<()> {
    malformed(lab, &format!("{CREATE}Content-Length: 2\r\nContent-Length: 3\r\n\r\n{{}}"), &[400])
}

fn unknown_transfer_coding(lab: &mut Lab) -> Result<()> {
    malformed(lab, "GET /_ping HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, x\r\n\r\n0\r\n\r\n", &[400, 501])
}

fn unknown_http_version(lab: &mut Lab) -> Result<()> {
    malformed(lab, "GET /_ping HTTP/3.7\r\nHost: x\r\n\r\n", &[505])
}

fn many_headers(lab: &mut Lab) -> Result<()> {
    let fields: String = (0..2000).map(|number| format!("X-Field-{number}: {number}\r\n")).collect();
    let mut wire = lab.connect()?;
    wire.send(format!("GET /_ping HTTP/1.1\r\nHost: x\r\n{fields}\r\n").as_bytes())?;
    let reply = Reply::read(&mut wire, "GET")?;
    lab.note_reply(&reply, Show::Exact);
    ensure!(reply.head.status == 200, "{}", reply.head.line);
    open(lab, &mut wire)
}

fn kept_alive_after_an_error(lab: &mut Lab) -> Result<()> {
    let request = "GET /v1.45/containers/cf-none/json HTTP/1.1\r\nHost: x\r\n\r\n";
    let (replies, mut wire) = talk(lab, &request.repeat(2), &["GET", "GET"])?;
    ensure!(replies.iter().all(|reply| reply.head.status == 404), "an error was answered otherwise");
    open(lab, &mut wire)
}

fn half_closed_behind_the_request(lab: &mut Lab) -> Result<()> {
    let mut wire = lab.connect()?;
    wire.send(b"GET /v1.45/version HTTP/1.1\r\nHost: x\r\n\r\n")?;
    wire.half_close()?;
    // dockerd takes the end for "the client has gone", and whether it has answered by then is chance.
    let reply = Reply::read(&mut wire, "GET")?;
    lab.note(&format!("< {}", reply.head.status));
    ensure!(matches!(reply.head.status, 200 | 500), "{}", reply.head.line);
    closed(lab, &mut wire)
}

fn client_leaves_in_the_middle_of_a_body(lab: &mut Lab) -> Result<()> {
    let mut wire = lab.connect()?;
    wire.send(format!("{CREATE}Content-Length: 1000\r\n\r\n{{\"Name\":\"cf-torn\"").as_bytes())?;
    wire.half_close()?;
    let reply = Reply::read(&mut wire, "POST")?;
    lab.note_reply(&reply, Show::Exact);
    lab.get("/volumes/cf-torn").expect(404).map(drop)
}

fn upgrade_to_nonsense(lab: &mut Lab) -> Result<()> {
    let request = "GET /_ping HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    let (replies, mut wire) = talk(lab, request, &["GET"])?;
    ensure!(replies[0].head.status == 200, "{}", replies[0].head.line);
    open(lab, &mut wire)
}

fn http_2_with_prior_knowledge(lab: &mut Lab) -> Result<()> {
    // An engine that speaks HTTP/2 answers with a frame; what makes a client go back to HTTP/1.1 is that there is none.
    let mut wire = lab.connect()?;
    wire.send(crate::http2::PREFACE)?;
    let head = Head::read(&mut wire)?;
    lab.note(&format!("< {}", head.status));
    ensure!(head.line.starts_with("HTTP/1.1 ") && head.status >= 300, "{}", head.line);
    Ok(())
}
