//! KVM's exits by reason, counted by the kernel's own trace event with a histogram trigger: exact, and without a tool that
//! would have to be brought into the emulated machine. Called by `microvm`, in that machine.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};

use crate::process::Run;

const TRACING: &str = "/sys/kernel/tracing";

/// What is counted: a trace event of KVM, and the field by whose values its occurrences are told apart.
const COUNTED: [(&str, &str); 4] =
    [("kvm_exit", "exit_reason"), ("kvm_mmio", "gpa"), ("kvm_msr", "ecx"), ("kvm_cpuid", "function")];

/// Counts from now on.
pub fn count() -> Result<()> {
    if !Path::new(TRACING).join("events").exists() {
        Run::new("mount").args(["-t", "tracefs", "tracefs", TRACING]).ok()?;
    }
    COUNTED.iter().try_for_each(|(event, field)| write(event, &format!("hist:keys={field}:size=4096")))
}

/// The counts since [`count`]: exits by reason, and accesses by what they were to. Counting ends.
pub fn counted() -> Result<BTreeMap<&'static str, BTreeMap<String, u64>>> {
    let mut all = BTreeMap::new();
    for (event, field) in COUNTED {
        let file = format!("{TRACING}/events/kvm/{event}/hist");
        let text = std::fs::read_to_string(&file).with_context(|| format!("read {file}"))?;
        write(event, &format!("!hist:keys={field}"))?;
        let counts = parse(&text, field).map(|(value, count)| match event {
            "kvm_exit" => (name(value), count),
            _ => (format!("{value:#x}"), count),
        });
        all.insert(event, counts.collect());
    }
    Ok(all)
}

fn write(event: &str, trigger: &str) -> Result<()> {
    let file = format!("{TRACING}/events/kvm/{event}/trigger");
    std::fs::write(&file, trigger).with_context(|| format!("write {trigger} to {file}"))
}

/// Lines such as `{ exit_reason:        124 } hitcount:        312`.
fn parse<'a>(histogram: &'a str, field: &'a str) -> impl Iterator<Item = (u64, u64)> + 'a {
    histogram.lines().filter_map(move |line| {
        let (key, count) = line.strip_prefix("{ ")?.strip_prefix(field)?.split_once("} hitcount:")?;
        Some((key.trim_start_matches(':').trim().parse().ok()?, count.trim().parse().ok()?))
    })
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
    fn a_histogram_becomes_counts() {
        let text = "# event histogram\n#\n\n{ exit_reason:        124 } hitcount:        312\n\
                    { exit_reason:       1024 } hitcount:          7\n\nTotals:\n    Hits: 319\n";
        assert_eq!(parse(text, "exit_reason").collect::<Vec<_>>(), [(124, 312), (1024, 7)]);
    }
}
