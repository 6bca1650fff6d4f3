//! The figures as a table and as JSON: medians, and the medians and quartiles of the ratios within a turn, which count.
//! Called by `inside`.

use serde_json::{Map, Value, json};

use super::measures::{Turn, Turns};
use super::stacks::NAMES;
use crate::bench::quartiles;

/// Prints the table and returns it.
pub fn show(turns: &Turns) -> Value {
    let count = turns.values().map(Vec::len).max().unwrap_or_default();
    println!("\nnetwork stacks without a guest, medians of {count} turns; ratios with their middle half");
    let [ours, pasta, slirp] = NAMES;
    println!("  {:<56} {ours:>8} {pasta:>8} {slirp:>11} {:>18} {:>18}", "", "to pasta", "to slirp4netns");
    let mut medians = Map::new();
    for (what, turns) in turns {
        let of = |which: usize| quartiles(turns.iter().map(|turn| turn[which]))[1];
        let to = |which: usize| quartiles(turns.iter().filter_map(|turn: &Turn| ratio(turn[0], turn[which])));
        let (pasta, slirp) = (to(1), to(2));
        let figures = [of(0), of(1), of(2)];
        let cell = |[low, middle, high]: [f64; 3]| {
            if middle.is_nan() { "-".to_owned() } else { format!("{middle:.2} {low:.2}-{high:.2}") }
        };
        let digits = if figures[0] < 10.0 { 2 } else { 0 };
        println!(
            "  {what:<56} {:>8.digits$} {:>8.digits$} {:>11.digits$} {:>18} {:>18}",
            figures[0],
            figures[1],
            figures[2],
            cell(pasta),
            cell(slirp)
        );
        let row = json!({ "medians": figures, "to_pasta": pasta, "to_slirp4netns": slirp });
        medians.insert(what.clone(), row);
    }
    Value::Object(medians)
}

/// A ratio of two things that were there at all.
fn ratio(ours: f64, theirs: f64) -> Option<f64> {
    (theirs > 0.0).then_some(ours / theirs)
}
