//! Docker clients at a named pipe with the stand-in engine behind it: bollard's own, and one that ends its sending by an empty
//! message, as those in Go do. Run by the part `pipes` of the suite `windows`: `pipes.exe PIPE`, with a line for each check
//! and a status that says whether all passed.

mod bodies;
mod messages;
#[allow(dead_code, missing_docs)]
#[path = "../../../../host-proxy/tests/stand_in/bulk.rs"]
mod stand_in;
mod streams;

use std::future::Future;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bollard::{API_DEFAULT_VERSION, Docker};
use sha2::{Digest, Sha256};

/// A safety net for slow hosts; nothing here waits for it.
const PATIENCE: Duration = Duration::from_secs(120);

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let pipe = std::env::args().nth(1).context("which pipe?")?;
    let docker = Docker::connect_with_named_pipe(&pipe, PATIENCE.as_secs(), API_DEFAULT_VERSION)?;
    let docker = tokio::time::timeout(PATIENCE, negotiated(docker)).await.context("nobody answers")?;
    let mut report = Report::default();
    report.check("bollard_ping_version_list_and_errors", bodies::about(&docker)).await;
    report.check("bollard_forty_requests_at_once", bodies::at_once(&docker)).await;
    report.check("bollard_build_from_a_streamed_tar", bodies::build(&docker)).await;
    report.check("bollard_load_of_twenty_megabytes", bodies::load(&docker)).await;
    report.check("bollard_chunked_export", bodies::export(&docker)).await;
    // Before any other: the engine remembers that a container has ended until somebody has asked.
    report.check("bollard_wait_ends_with_the_container", streams::wait(&docker)).await;
    report.check("bollard_attach_both_ways", streams::attach(&docker)).await;
    report.check("bollard_exec_both_ways", streams::exec(&docker)).await;
    report.check("bollard_logs_follow_to_the_end", streams::logs(&docker)).await;
    report.check("bollard_a_dropped_stream_harms_nobody", streams::dropped(&docker)).await;
    for mode in messages::MODES {
        report.check(&format!("{mode:?}_mode_attach_with_half_close"), messages::attach(&pipe, mode)).await;
        report.check(&format!("{mode:?}_mode_input_ends_before_the_answer"), messages::input(&pipe, mode)).await;
        report.check(&format!("{mode:?}_mode_output_ends_first"), messages::output(&pipe, mode)).await;
        report.check(&format!("{mode:?}_mode_chunked_upload_and_answer"), messages::chunked(&pipe, mode)).await;
    }
    println!("{} passed, {} failed", report.passed, report.failed);
    Ok(if report.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Asks again and again until there is a daemon that answers.
async fn negotiated(docker: Docker) -> Docker {
    loop {
        if let Ok(docker) = docker.clone().negotiate_version().await {
            return docker;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[derive(Default)]
struct Report {
    passed: u32,
    failed: u32,
}

impl Report {
    async fn check(&mut self, name: &str, check: impl Future<Output = Result<()>>) {
        let done = tokio::time::timeout(PATIENCE, check).await;
        match done.context("it does not end").and_then(|result| result) {
            Ok(()) => {
                self.passed += 1;
                println!("{name} ok");
            }
            Err(error) => {
                self.failed += 1;
                println!("{name} FAILED: {error:#}");
            }
        }
    }
}

/// SHA-256 in hex.
fn hash(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// So many bytes that depend on `seed`.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    stand_in::Pattern::new(seed).fill(&mut bytes);
    bytes
}

/// Fails unless these are the same bytes.
fn same(what: &str, got: &[u8], want: &[u8]) -> Result<()> {
    let first = got.iter().zip(want).position(|(got, want)| got != want);
    ensure!(
        hash(got) == hash(want),
        "{what}: {} bytes came instead of {}, the first wrong one at {first:?}",
        got.len(),
        want.len()
    );
    Ok(())
}
