//! What the conformance case prints of its two transcripts: a table by family, and where the time went.

use std::collections::BTreeMap;

use super::{DIFFERENT, Transcript};

/// One family on both sockets.
#[derive(Default)]
struct Family {
    cases: usize,
    /// Cases with a fault.
    faulty: usize,
    /// Cases that differ as named.
    meant: usize,
    milliseconds: [u64; 2],
}

/// Families with their cases, how many are alike, how many differ as they are meant to, and the seconds on each socket.
pub(super) fn table(ours: &Transcript, theirs: &Transcript, faults: &[(String, String)]) {
    let mut families: BTreeMap<&str, Family> = BTreeMap::new();
    for (case, mine) in &ours.records {
        let other = theirs.records.get(case);
        let is_meant =
            DIFFERENT.iter().any(|(name, _)| name == case) && other.is_some_and(|other| other.lines != mine.lines);
        let is_faulty = faults.iter().any(|(name, _)| name == case);
        for name in [family(case), "together"] {
            let row = families.entry(name).or_default();
            row.cases += 1;
            row.faulty += usize::from(is_faulty);
            row.meant += usize::from(is_meant && !is_faulty);
            row.milliseconds[0] += mine.milliseconds;
            row.milliseconds[1] += other.map_or(0, |other| other.milliseconds);
        }
    }
    println!(
        "    {:<16} {:>5} {:>6} {:>6} {:>6}  {:>9} {:>9}",
        "family", "cases", "alike", "meant", "wrong", "lighter s", "dockerd s"
    );
    let together = families.remove("together");
    for (name, row) in families.into_iter().chain(together.map(|row| ("together", row))) {
        let alike = row.cases - row.faulty - row.meant;
        let [ours, theirs] = row.milliseconds.map(|milliseconds| milliseconds as f64 / 1000.0);
        println!(
            "    {name:<16} {:>5} {alike:>6} {:>6} {:>6}  {ours:>9.1} {theirs:>9.1}",
            row.cases, row.meant, row.faulty
        );
    }
}

fn family(case: &str) -> &str {
    case.split('.').next().unwrap_or(case)
}

/// The cases that took longest on lighter's socket, beside their time on dockerd's own.
pub(super) fn slowest(ours: &Transcript, theirs: &Transcript) {
    let mut cases: Vec<_> = ours.records.iter().collect();
    cases.sort_by_key(|(_, record)| std::cmp::Reverse(record.milliseconds));
    println!("    slowest on {}, with {}:", ours.name, theirs.name);
    for (case, record) in cases.into_iter().take(12) {
        let other = theirs.records.get(case).map_or(0, |other| other.milliseconds);
        println!("    {case:<50} {:>8} ms {other:>8} ms", record.milliseconds);
    }
}
