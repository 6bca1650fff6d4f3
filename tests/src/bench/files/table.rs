//! The figures as a table and as JSON: medians, and the medians and quartiles of the ratios within a round, which count. Called by
//! `run`.

use lighter_meter::files::{FOLDERS, STREAM};
use serde_json::{Map, Value, json};

use super::measures::{ALL, Kind, Measure, Round, Run};
use super::servers::Server;
use crate::bench::{median, quartiles};

/// Prints the table and returns it.
pub fn show(servers: &[Server], measured: &[Vec<Round>]) -> Value {
    let count = measured.first().map_or(0, Vec::len);
    println!("\nshared folders in an emulated guest, medians of {count} rounds; ratios of time with their middle half");
    println!("ms, streams in MB/s; round trips: waited for, of lighter's");
    let names = servers.iter().map(|server| format!("{:>13}", server.name)).collect::<String>();
    let ratios =
        servers.iter().skip(1).map(|server| format!("{:>20}", format!("to {}", server.name))).collect::<String>();
    println!("  {:<34}{names}{:>9}{ratios}{:>13}", "", "host", "round trips");
    let mut all = Map::new();
    for (measure, rounds) in ALL.iter().zip(measured) {
        all.insert(measure.word.to_owned(), row(servers, measure, rounds));
    }
    println!("\nprocessor time of the server, ms");
    for (measure, rounds) in ALL.iter().zip(measured) {
        let own = servers.iter().enumerate().filter(|(_, server)| server.socket.is_some());
        let spent = own.map(|(which, _)| format!("{:>13.0}", middle(rounds, which, |run| run.spent * 1e3)));
        println!("  {:<34}{}", measure.name, spent.collect::<String>());
    }
    goals(servers, measured);
    Value::Object(all)
}

fn row(servers: &[Server], measure: &Measure, rounds: &[Round]) -> Value {
    // A stream's rate, or a time in milliseconds.
    let figure =
        |seconds: f64| if measure.kind == Kind::Stream { STREAM as f64 / 1e6 / seconds } else { seconds * 1e3 };
    let medians: Vec<f64> = (0..servers.len()).map(|which| figure(middle(rounds, which, |run| run.seconds))).collect();
    let host = figure(median(&rounds.iter().map(|round| round.host).collect::<Vec<_>>()).unwrap_or(f64::NAN));
    let ratios: Vec<[f64; 3]> = (1..servers.len()).map(|which| ratio(rounds, which)).collect();
    let trips = middle(rounds, 0, |run| run.round_trips.unwrap_or(f64::NAN));
    let cells = medians.iter().map(|figure| format!("{figure:>13.0}")).collect::<String>();
    let compared =
        ratios.iter().map(|[low, middle, high]| format!("{:>20}", format!("{middle:.2} {low:.2}-{high:.2}")));
    println!("  {:<34}{cells}{host:>9.1}{}{trips:>13.0}", measure.name, compared.collect::<String>());
    let spent: Vec<f64> = (0..servers.len()).map(|which| middle(rounds, which, |run| run.spent)).collect();
    let runs: Vec<Vec<f64>> = rounds.iter().map(|round| round.runs.iter().map(|run| run.seconds).collect()).collect();
    let servers: Vec<&str> = servers.iter().map(|server| server.name).collect();
    json!({
        "servers": servers, "medians": medians, "host": host, "ratios": ratios, "round_trips": trips,
        "processor_seconds": spent, "seconds": runs,
    })
}

fn goals(servers: &[Server], measured: &[Vec<Round>]) {
    println!("\ngoals");
    let met = |met: bool| if met { "met" } else { "MISSED" };
    for (measure, rounds) in ALL.iter().zip(measured) {
        for (which, server) in servers.iter().enumerate().skip(1) {
            let [_, ratio, _] = ratio(rounds, which);
            let limit = match measure.kind {
                Kind::Metadata => 0.8,
                Kind::Stream => 1.0,
                Kind::Pages | Kind::Disk => continue,
            };
            println!(
                "  {:<34} at most {limit:.1} of {}'s time: {ratio:.2}, {}",
                measure.name,
                server.name,
                met(ratio <= limit)
            );
        }
    }
    let warm = middle(&measured[1], 0, |run| run.round_trips.unwrap_or(f64::NAN)) / FOLDERS as f64;
    println!("  {:<34} at most 1 round trip per folder: {warm:.2}, {}", ALL[1].name, met(warm <= 1.0));
}

fn ratio(rounds: &[Round], which: usize) -> [f64; 3] {
    quartiles(rounds.iter().map(|round| round.runs[0].seconds / round.runs[which].seconds))
}

fn middle(rounds: &[Round], which: usize, figure: impl Fn(&Run) -> f64) -> f64 {
    median(&rounds.iter().map(|round| figure(&round.runs[which])).collect::<Vec<_>>()).unwrap_or(f64::NAN)
}
