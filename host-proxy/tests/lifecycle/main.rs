//! The command line and the daemon as processes, over a machine in memory: locks, sockets, signals, crashes. A harness of
//! its own, because the same binary is also the program under test (see `lab`).

// Not every lint sees that a harness of its own is a test.
#![allow(clippy::unwrap_used, clippy::expect_used)]

macro_rules! cases {
    ($($(#[$meta:meta])* fn $name:ident() $body:block)*) => {
        pub const ALL: &[(&str, fn())] = &[$((stringify!($name), $name)),*];
        $($(#[$meta])* fn $name() $body)*
    };
}

mod autostart;
mod cases;
mod guest;
mod lab;
mod leftovers;
mod limits;
mod output;
mod places;
mod shares;
mod strangers;
mod verbs;
mod wake;
mod world;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

fn main() -> ExitCode {
    let since = Instant::now();
    if let Some(image) = std::env::var_os(lab::STAND_IN) {
        return lighter::cli::run(Arc::new(guest::StandIn(PathBuf::from(image))), since);
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let has = |flag: &str| arguments.iter().any(|argument| argument == flag);
    // What cargo test and nextest ask of a test binary.
    if has("--list") {
        let names = all().filter(|_| !has("--ignored"));
        names.for_each(|(name, _)| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    let filters: Vec<&String> = arguments.iter().filter(|argument| !argument.starts_with('-')).collect();
    let wanted = |name: &str| match has("--exact") {
        _ if filters.is_empty() => true,
        true => filters.iter().any(|filter| *filter == name),
        false => filters.iter().any(|filter| name.contains(filter.as_str())),
    };
    for (name, case) in all().filter(|(name, _)| wanted(name)) {
        // A failure panics, which fails the whole binary with its message.
        case();
        println!("test {name} ... ok");
    }
    ExitCode::SUCCESS
}

fn all() -> impl Iterator<Item = &'static (&'static str, fn())> {
    let files = [
        cases::ALL,
        places::ALL,
        shares::ALL,
        limits::ALL,
        output::ALL,
        verbs::ALL,
        wake::ALL,
        leftovers::ALL,
        autostart::ALL,
        strangers::ALL,
        world::ALL,
    ];
    files.into_iter().flatten()
}
