//! The agent's own log: `tracing` events as lines to a bounded file and to the console, where the host keeps them. Called by
//! `main`; read through `control::logs`.
//!
//! Guests can cause lines, and console bytes cost exits, so the console takes at most [`BURST`] lines at once and
//! [`PER_SECOND`] in the long run; the file takes all and says how many the console missed.

use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use crate::log_file::LogFile;

const BURST: u32 = 50;
const PER_SECOND: u32 = 5;

/// Takes the process's events from here on.
pub fn start() {
    let started = Mutex::new(Sink { file: None, allowance: BURST, refilled: Instant::now(), missed: 0 });
    let _second_start = tracing::subscriber::set_global_default(Log { sink: started });
}

struct Log {
    sink: Mutex<Sink>,
}

struct Sink {
    /// Opened at the first line after `/run` exists.
    file: Option<LogFile>,
    allowance: u32,
    refilled: Instant,
    missed: u64,
}

impl Sink {
    fn line(&mut self, line: &str) {
        if self.file.is_none() {
            self.file = LogFile::open(crate::paths::AGENT_LOG).ok();
        }
        if let Some(file) = &mut self.file {
            file.write(line.as_bytes());
        }
        let seconds = self.refilled.elapsed().as_secs();
        if seconds > 0 {
            let refill = u32::try_from(seconds).unwrap_or(u32::MAX).saturating_mul(PER_SECOND);
            self.allowance = self.allowance.saturating_add(refill).min(BURST);
            self.refilled = Instant::now();
        }
        if self.allowance == 0 {
            self.missed += 1;
            return;
        }
        self.allowance -= 1;
        let mut console = std::io::stderr().lock();
        if self.missed > 0 {
            let _console_gone = writeln!(console, "agent: {} lines left out", std::mem::take(&mut self.missed));
        }
        let _console_gone = console.write_all(line.as_bytes());
    }
}

impl Subscriber for Log {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::INFO
    }

    fn event(&self, event: &Event<'_>) {
        let uptime = crate::clock::uptime();
        let mut line = format!("agent: {:4}.{:03} ", uptime.as_secs(), uptime.subsec_millis());
        if *event.metadata().level() <= Level::WARN {
            line.push_str(event.metadata().level().as_str());
            line.push(' ');
        }
        event.record(&mut Text(&mut line));
        line.push('\n');
        self.sink.lock().unwrap_or_else(PoisonError::into_inner).line(&line);
    }

    // Spans are not used here.
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

struct Text<'a>(&'a mut String);

impl Visit for Text<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        let name = field.name();
        let _infallible = match name {
            "message" => write!(self.0, "{value:?}"),
            _ => write!(self.0, " {name}={value:?}"),
        };
    }
}
