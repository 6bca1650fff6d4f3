//! A thousand clients at once for a given time, and what they found: 200 on hijacked streams, 300 on streamed answers, 500
//! that come and go. Every byte is compared; who waits too long for the end of a visit is stuck. Called by `main`.

use std::path::Path;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use lighter::sys::endpoint;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::visits::{self, Dice};

/// Clients of each kind.
const HIJACKED: u64 = 200;
const STREAMING: u64 = 300;
const SHORT: u64 = 500;
/// How long a visit may stand still. A visit may take as long as it has to on a busy machine: what moves is not stuck.
const STUCK: Duration = Duration::from_secs(120);
/// Most messages that are kept.
const MOST_FAILURES: usize = 10;

/// What a visit came to.
pub struct Seen {
    /// Bytes of content that were compared.
    pub bytes: u64,
    /// How many of them were wrong, missing or too many.
    pub differences: u64,
}

#[derive(Default)]
struct Report {
    /// Hijacked, streaming, short.
    visits: [u64; 3],
    bytes: u64,
    differences: u64,
    stuck: u64,
    failures: Vec<String>,
    failed: u64,
}

/// Loads the API at `socket` for `time`; the report as a JSON object.
pub async fn run(socket: &Path, time: Duration) -> serde_json::Value {
    let end = Instant::now() + time;
    let mut clients = JoinSet::new();
    for number in 0..HIJACKED + STREAMING + SHORT {
        let socket = socket.to_owned();
        clients.spawn(async move { client(&socket, number, end).await });
    }
    let mut total = Report::default();
    while let Some(report) = clients.join_next().await {
        match report {
            Ok(report) => total.add(report),
            Err(panic) => total.fail(panic.to_string()),
        }
    }
    serde_json::json!({
        "hijacked": total.visits[0], "streaming": total.visits[1], "short": total.visits[2],
        "bytes": total.bytes, "differences": total.differences, "stuck": total.stuck,
        "failed": total.failed, "failures": total.failures,
    })
}

/// One client: visit after visit until the time is over.
async fn client(socket: &Path, number: u64, end: Instant) -> Report {
    let mut report = Report::default();
    let mut dice = Dice::new(number);
    let kind = match number {
        ..HIJACKED => 0,
        _ if number < HIJACKED + STREAMING => 1,
        _ => 2,
    };
    // Not all in the same instant: a listener's queue is shorter than a thousand.
    sleep(Duration::from_millis(number * 2)).await;
    // Who failed once need not fail as fast as it can.
    while Instant::now() < end && report.stuck + report.failed == 0 {
        let moved = AtomicU64::new(0);
        let mut visit = pin!(async {
            let stream = endpoint::connect(socket).await?;
            match kind {
                0 => visits::hijacked(stream, &mut dice, &moved).await,
                1 => visits::streamed(stream, &mut dice, &moved).await,
                _ => visits::short(stream, &mut dice).await,
            }
        });
        let outcome = loop {
            let before = moved.load(Ordering::Relaxed);
            match timeout(STUCK, visit.as_mut()).await {
                Err(_) if moved.load(Ordering::Relaxed) != before => {}
                outcome => break outcome,
            }
        };
        match outcome {
            Err(_) => report.stuck += 1,
            Ok(Err(error)) => report.fail(format!("client {number}: {error}")),
            Ok(Ok(seen)) => {
                report.visits[kind] += 1;
                report.bytes += seen.bytes;
                report.differences += seen.differences;
            }
        }
    }
    report
}

impl Report {
    fn fail(&mut self, why: String) {
        self.failed += 1;
        if self.failures.len() < MOST_FAILURES {
            self.failures.push(why);
        }
    }

    fn add(&mut self, other: Report) {
        for (sum, more) in self.visits.iter_mut().zip(other.visits) {
            *sum += more;
        }
        self.bytes += other.bytes;
        self.differences += other.differences;
        self.stuck += other.stuck;
        self.failed += other.failed;
        let room = MOST_FAILURES.saturating_sub(self.failures.len());
        self.failures.extend(other.failures.into_iter().take(room));
    }
}
