//! The Docker API proxy when a client, the engine or the whole guest is killed, stopped or cut off at any moment: everybody
//! who is left hears of it at once, and what comes next works (catalogue X1–X3).
#![allow(clippy::unwrap_used, missing_docs)]

mod stand_in;

use std::time::Duration;

use stand_in::{
    End, Machine, SOCKET, soon,
    talk::{GET, OK, asked, exchange, refusal},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    task::JoinHandle,
    time::{Instant, sleep},
};

const UPLOAD: &str = "POST /images/load HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n";
const ATTACH: &str = "POST /containers/c/attach HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n";
const UPGRADED: &str = "HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n";
const PART: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n";

/// Where a connection stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Idle,
    Asked,
    Answering,
    Uploading,
    Attached,
}

const STATES: [State; 5] = [State::Idle, State::Asked, State::Answering, State::Uploading, State::Attached];

/// A connection brought there.
async fn connection(machine: &mut Machine, state: State) -> (End, End, JoinHandle<()>) {
    let (request, answer) = match state {
        State::Idle => (GET, OK),
        State::Asked => (GET, ""),
        State::Answering => ("GET /events HTTP/1.1\r\n\r\n", PART),
        State::Uploading => (UPLOAD, ""),
        State::Attached => (ATTACH, UPGRADED),
    };
    let (mut client, served) = machine.client();
    let mut engine = asked(machine, &mut client, request).await;
    engine.send(answer).await;
    client.expect(answer).await;
    (client, engine, served)
}

async fn serves(machine: &mut Machine, client: &mut End) {
    let mut engine = asked(machine, client, GET).await;
    engine.send(OK).await;
    client.expect(OK).await;
    exchange(client, &mut engine, GET, OK).await;
}

/// What a client sees whose engine is gone: an end, never an orderly one.
async fn mourns(machine: &mut Machine, state: State, client: &mut End) {
    match state {
        State::Idle => serves(machine, client).await,
        State::Asked | State::Uploading => assert!(refusal(client).await.0.contains("502"), "{state:?}"),
        State::Answering | State::Attached => client.expect_end().await,
    }
}

#[tokio::test(start_paused = true)]
async fn x1_when_the_engine_is_killed_under_load_everybody_hears_at_once_and_new_calls_work() {
    for reset in [false, true] {
        let mut machine = Machine::new();
        let mut clients = Vec::new();
        let mut engines = Vec::new();
        for number in 0..200 {
            let state = STATES[number % STATES.len()];
            let (client, engine, served) = connection(&mut machine, state).await;
            clients.push((state, client, served));
            engines.push(engine);
        }
        let killed = Instant::now();
        for engine in engines {
            if reset {
                engine.reset();
            }
        }
        for (state, client, _) in &mut clients {
            mourns(&mut machine, *state, client).await;
        }
        assert_eq!(killed.elapsed(), Duration::ZERO, "somebody had to wait");
        for (_, client, served) in clients {
            drop(client);
            soon("task", served).await.unwrap();
        }
        let (mut client, _served) = machine.client();
        serves(&mut machine, &mut client).await;
    }
}

#[tokio::test(start_paused = true)]
async fn x1_when_the_guest_is_killed_the_next_call_asks_for_another_one() {
    let mut machine = Machine::new();
    let mut clients = Vec::new();
    let mut engines = Vec::new();
    for state in STATES {
        let (client, engine, _served) = connection(&mut machine, state).await;
        clients.push((state, client));
        engines.push(engine);
    }
    let killed = Instant::now();
    machine.refuse(Some("the machine has ended: its kernel panicked"));
    engines.into_iter().for_each(End::reset);
    for (state, client) in &mut clients {
        if *state == State::Idle {
            client.send(GET).await;
            let (status, message) = refusal(client).await;
            assert!(status.contains("503") && message.contains("its kernel panicked"), "{message}");
        } else {
            mourns(&mut machine, *state, client).await;
        }
    }
    assert_eq!(killed.elapsed(), Duration::ZERO, "somebody had to wait");
    machine.refuse(None);
    let (mut client, _served) = machine.client();
    serves(&mut machine, &mut client).await;
}

/// Reads whatever comes and leaves when its peer has.
async fn reads_to_the_end(mut engine: End, answer: &'static str) {
    let mut block = [0; 4096];
    let mut answered = false;
    while soon("the client's end", engine.stream.read(&mut block)).await.is_ok_and(|count| count > 0) {
        if !answered {
            answered = engine.stream.write_all(answer.as_bytes()).await.is_ok();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn x1_a_client_that_is_killed_at_any_byte_leaves_nothing() {
    let create = "POST /containers/create HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}";
    // A client may end its sending behind several requests and still wait for all answers, so these need an engine that answers.
    let (upload, two) = (format!("{UPLOAD}0\r\n\r\n"), format!("{UPLOAD}0\r\n\r\n{GET}"));
    let attach = format!("{ATTACH}stdin");
    for (text, answer) in [(two.as_str(), OK), (upload.as_str(), ""), (attach.as_str(), UPGRADED), (create, "")] {
        for cut in 0..=text.len() {
            for reset in [false, true] {
                let mut machine = Machine::new();
                let (mut client, served) = machine.client();
                client.send(&text[..cut]).await;
                if reset {
                    client.reset()
                } else {
                    drop(client)
                }
                let engine = async {
                    while let Some(engine) = machine.next_dial().await {
                        reads_to_the_end(engine, answer).await;
                    }
                };
                tokio::select! {
                    // It holds whatever was opened, so nothing is left behind it.
                    ended = soon("task", served) => ended.unwrap(),
                    () = engine => panic!("the machine is held by this test"),
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn x1_an_engine_that_is_killed_at_any_byte_never_leaves_an_answer_that_looks_whole() {
    let answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX: y\r\n\r\n3;a\r\nabc\r\n10\r\n0123456789abcdef\r\n0\r\n\r\n";
    for cut in 0..answer.len() {
        for reset in [false, true] {
            let mut machine = Machine::new();
            let (mut client, served) = machine.client();
            let mut engine = asked(&mut machine, &mut client, GET).await;
            engine.send(&answer[..cut]).await;
            if reset {
                engine.reset()
            } else {
                drop(engine)
            }
            let got = String::from_utf8(client.rest().await).unwrap();
            let head = answer.find("\r\n\r\n").unwrap() + 4;
            if cut < head {
                assert!(got.starts_with("HTTP/1.1 502 "), "{cut}: {got}");
            } else {
                assert_eq!(got, answer[..cut]);
            }
            drop(client);
            soon("task", served).await.unwrap();
        }
    }
}

/// SIGSTOP of the engine, or of the whole guest: nothing is read and nothing comes, and nothing is closed.
#[tokio::test(start_paused = true)]
async fn x2_an_engine_that_stands_still_and_goes_on_has_lost_nothing() {
    for pause in [1, 60, 3600] {
        let mut machine = Machine::new();
        let (mut client, _served) = machine.client();
        let body = "x".repeat(SOCKET / 2);
        let request = format!("POST /build HTTP/1.1\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        client.send(&request).await;
        let mut engine = machine.engine().await;
        // Somebody leaves meanwhile, and somebody else comes.
        let (gone, stopped, served) = connection(&mut machine, State::Asked).await;
        drop(gone);
        sleep(Duration::from_secs(pause)).await;
        let (mut late, _served) = machine.client();
        late.send(GET).await;
        let mut next = machine.engine().await;
        engine.expect(&request).await;
        engine.send(OK).await;
        client.expect(OK).await;
        next.expect(GET).await;
        next.send(OK).await;
        late.expect(OK).await;
        drop(stopped);
        soon("the task of who left", served).await.unwrap();
    }
}

/// SIGSTOP of a client, Ctrl-Z in a terminal.
#[tokio::test(start_paused = true)]
async fn x2_a_client_that_stands_still_and_goes_on_has_lost_nothing() {
    for pause in [1, 60, 3600] {
        let mut machine = Machine::new();
        let (mut client, mut engine, _served) = connection(&mut machine, State::Attached).await;
        let output = "o".repeat(10 * SOCKET);
        let writer = tokio::spawn({
            let output = output.clone();
            async move {
                engine.send(&output).await;
                engine.half_close().await;
                engine
            }
        });
        sleep(Duration::from_secs(pause.min(10))).await;
        let (mut other, _served) = machine.client();
        serves(&mut machine, &mut other).await;
        client.expect(&output).await;
        client.expect_end().await;
        let mut engine = writer.await.unwrap();
        sleep(Duration::from_secs(pause)).await;
        client.send("still typing").await;
        client.half_close().await;
        engine.expect("still typing").await;
        engine.expect_end().await;
    }
}

/// The daemon ends: what it serves is dropped in the middle.
#[tokio::test(start_paused = true)]
async fn x3_a_connection_that_is_cut_off_ends_for_both_sides() {
    for state in STATES {
        let mut machine = Machine::new();
        let (mut client, mut engine, served) = connection(&mut machine, state).await;
        let cut = Instant::now();
        served.abort();
        client.expect_end().await;
        engine.expect_end().await;
        assert!(client.stream.write_all(b"x").await.is_err() && engine.stream.write_all(b"x").await.is_err());
        assert_eq!(cut.elapsed(), Duration::ZERO, "{state:?}");
    }
}
