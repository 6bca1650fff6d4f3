//! What is wrong on this computer with lighter, or with its neighbours in the way of docker tools, and the one command that
//! cures each thing. `gather` finds out the facts, each check is a pure function over them. Called by `cli::doctor`.

use serde::Serialize;

use crate::plain;

mod checks;
/// Which engine an endpoint belongs to.
pub mod engines;
/// What the checks look at.
pub mod facts;
/// Finds the facts out.
pub mod gather;
/// Which tool reaches which engine.
pub mod routes;
#[cfg(test)]
mod samples;

pub use checks::CHECKS;
use facts::Facts;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Good to know; nothing fails because of it.
    Hint,
    /// Something fails, or will.
    Wrong,
}

/// Where a check belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Group {
    /// The machine and its daemon.
    Machine,
    /// Its directories, disk and image.
    Files,
    /// This computer.
    Host,
    /// The docker CLI and what belongs to it.
    Tools,
    /// What leads a tool to an engine.
    Ways,
}

impl Group {
    /// All, in the order of printing.
    pub const ALL: [Group; 5] = [Group::Machine, Group::Files, Group::Host, Group::Tools, Group::Ways];

    /// For people.
    pub fn title(self) -> &'static str {
        match self {
            Group::Machine => "Machine",
            Group::Files => "Files",
            Group::Host => "This computer",
            Group::Tools => "Docker tools",
            Group::Ways => "Ways to an engine",
        }
    }
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// How bad it is.
    pub level: Level,
    /// What is the matter.
    pub cause: String,
    /// The command that helps, or what to do where there is none.
    pub cure: String,
}

impl Found {
    /// Something fails.
    pub fn wrong(cause: impl Into<String>, cure: impl Into<String>) -> Option<Found> {
        Some(Found { level: Level::Wrong, cause: cause.into(), cure: cure.into() })
    }

    /// Good to know.
    pub fn hint(cause: impl Into<String>, cure: impl Into<String>) -> Option<Found> {
        Some(Found { level: Level::Hint, cause: cause.into(), cure: cure.into() })
    }

    /// Wrong or a hint.
    pub fn of(wrong: bool, cause: impl Into<String>, cure: impl Into<String>) -> Option<Found> {
        if wrong { Found::wrong(cause, cure) } else { Found::hint(cause, cure) }
    }
}

/// One thing that may be wrong.
#[derive(Debug, Clone, Copy)]
pub struct Check {
    /// Its name, for scripts.
    pub id: &'static str,
    /// Where it belongs.
    pub group: Group,
    /// Looks; `None` if all is well.
    pub look: fn(&Facts) -> Option<Found>,
}

/// A finding with its check's name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The check.
    pub id: &'static str,
    /// Its group.
    pub group: Group,
    /// How bad it is.
    pub level: Level,
    /// What is the matter.
    pub cause: String,
    /// What helps.
    pub cure: String,
}

/// Runs every check; what they found, in their order.
pub fn examine(facts: &Facts) -> Vec<Finding> {
    let found = CHECKS.iter().flat_map(|group| group.iter()).filter_map(|check| {
        let Found { level, cause, cure } = (check.look)(facts)?;
        // Names from files of others and words of the guest are in it.
        let [cause, cure] = [cause, cure].map(|text| plain::one_line(&text));
        Some(Finding { id: check.id, group: check.group, level, cause, cure })
    });
    found.collect()
}
