//! The list of all checks. Each is a few lines over facts, with a test of its own beside it.

use super::Check;

/// Directories, disk, image.
mod files;
/// This computer.
mod host;
/// Daemon and machine.
mod machine;
/// The docker CLI and what belongs to it.
pub(super) mod tools;
/// What leads a tool to an engine.
mod ways;
/// Proxies and trust.
mod world;

/// All checks, by group.
pub const CHECKS: [&[Check]; 6] =
    [machine::CHECKS, files::CHECKS, host::CHECKS, world::CHECKS, tools::CHECKS, ways::CHECKS];

/// `~` for the user's home, so that a line fits.
fn short(path: &std::path::Path) -> String {
    let home = std::env::home_dir().filter(|home| home.components().count() > 1);
    match home.and_then(|home| path.strip_prefix(home).ok().map(|rest| format!("~/{}", rest.display()))) {
        Some(short) => short,
        None => path.display().to_string(),
    }
}

/// The command in a cure such as ``install it: apt install x``, or the cure itself.
fn command_in(cure: &str) -> String {
    if let Some((_, rest)) = cure.split_once('`')
        && let Some((command, _)) = rest.split_once('`')
    {
        return command.to_owned();
    }
    cure.strip_prefix("install it: ").map_or_else(|| cure.to_owned(), |command| format!("sudo {command}"))
}

/// So many bytes in GiB.
fn gib(bytes: u64) -> String {
    format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::doctor::{examine, facts::Facts};

    #[test]
    fn a_healthy_computer_gets_no_line_at_all() {
        assert_eq!(examine(&Facts::healthy()), []);
    }

    #[test]
    fn a_computer_of_which_nothing_can_be_found_out_gets_no_complaint_that_needs_a_fact() {
        let wrong: Vec<_> = examine(&Facts::default()).into_iter().map(|finding| finding.id).collect();
        // These are about something that is not there.
        assert_eq!(wrong, ["docker-cli", "compose", "buildx"]);
    }

    #[test]
    fn every_check_has_a_name_of_its_own_and_a_test() {
        let ids: Vec<&str> = CHECKS.iter().flat_map(|group| group.iter()).map(|check| check.id).collect();
        let distinct: BTreeSet<&str> = ids.iter().copied().collect();
        assert_eq!(ids.len(), distinct.len());
        let tested = [
            machine::tests::TESTED,
            files::tests::TESTED,
            host::tests::TESTED,
            tools::tests::TESTED,
            ways::tests::TESTED,
            world::tests::TESTED,
        ];
        let tested: BTreeSet<&str> = tested.iter().flat_map(|ids| ids.iter().copied()).collect();
        assert_eq!(distinct, tested);
    }
}
