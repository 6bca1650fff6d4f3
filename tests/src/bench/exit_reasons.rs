//! KVM's exits by reason, counted by the kernel's own trace event with a histogram trigger: exact, and without a tool that
//! would have to be brought into the emulated machine. Called by `microvm`, in that machine.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};

use crate::process::Run;

const TRACING: &str = "/sys/kernel/tracing";
const TRIGGER: &str = "/sys/kernel/tracing/events/kvm/kvm_exit/trigger";
const HISTOGRAM: &str = "/sys/kernel/tracing/events/kvm/kvm_exit/hist";

/// Counts from now on.
pub fn count() -> Result<()> {
    if !Path::new(TRIGGER).exists() {
        Run::new("mount").args(["-t", "tracefs", "tracefs", TRACING]).ok()?;
    }
    write("hist:keys=exit_reason")
}

/// The counts since [`count`], by reason; counting ends.
pub fn counted() -> Result<BTreeMap<String, u64>> {
    let text = std::fs::read_to_string(HISTOGRAM).context("read the histogram of exits")?;
    write("!hist:keys=exit_reason")?;
    Ok(parse(&text))
}

fn write(trigger: &str) -> Result<()> {
    std::fs::write(TRIGGER, trigger).with_context(|| format!("write {trigger} to {TRIGGER}"))
}

/// Lines such as `{ exit_reason:        124 } hitcount:        312`.
fn parse(histogram: &str) -> BTreeMap<String, u64> {
    let line = |line: &str| {
        let (key, count) = line.strip_prefix("{ exit_reason:")?.split_once("} hitcount:")?;
        Some((name(key.trim().parse().ok()?), count.trim().parse().ok()?))
    };
    histogram.lines().filter_map(line).collect()
}

/// SVM's name of an exit code (AMD64 Architecture Programmer's Manual, volume 2, appendix C): the emulated machine's CPU is
/// an AMD one.
fn name(code: u64) -> String {
    match code {
        0x00..=0x0f => format!("read CR{code}"),
        0x10..=0x1f => format!("write CR{}", code - 0x10),
        0x20..=0x3f => "debug register".into(),
        0x40..=0x5f => format!("exception {}", code - 0x40),
        0x60 => "host interrupt".into(),
        0x64 => "interrupt window".into(),
        0x65 => "write CR0, selective".into(),
        0x6e => "RDTSC".into(),
        0x72 => "CPUID".into(),
        0x77 => "PAUSE".into(),
        0x78 => "HLT".into(),
        0x7b => "I/O port".into(),
        0x7c => "MSR".into(),
        0x81 => "VMMCALL".into(),
        0x8d => "XSETBV".into(),
        0x400 => "nested page fault, MMIO among them".into(),
        _ => format!("{code:#x}"),
    }
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn a_histogram_becomes_counts_by_name() {
        let text = "# event histogram\n#\n\n{ exit_reason:        124 } hitcount:        312\n\
                    { exit_reason:       1024 } hitcount:          7\n\nTotals:\n    Hits: 319\n";
        let counts = parse(text);
        assert_eq!(counts["MSR"], 312);
        assert_eq!(counts["nested page fault, MMIO among them"], 7);
        assert_eq!(counts.len(), 2);
    }
}
