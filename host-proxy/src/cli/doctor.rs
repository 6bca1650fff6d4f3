//! `lighter doctor`: which engines there are, which tool reaches which, what is wrong, and the one command that cures it.
//! Exit code 1 if something is wrong, 0 if there are only hints.

use std::process::ExitCode;

use clap::Args;

use super::paint::Paint;
use super::{Target, output, status};
use crate::control::{ControlError, Phase};
use crate::doctor::facts::{Alive, Facts};
use crate::doctor::gather::{self, Answer};
use crate::doctor::routes::{self, Route};
use crate::doctor::{CHECKS, Finding, Group, Level, examine};
use crate::machine::Platform;

#[derive(Debug, Args)]
pub struct Doctor {
    /// As JSON.
    #[arg(long)]
    json: bool,
}

impl Doctor {
    pub fn run(&self, target: &Target, platform: &dyn Platform) -> anyhow::Result<ExitCode> {
        let answer = match status::ask(target)? {
            Err(ControlError::Silent { pid }) => Answer::Silent(pid),
            other => Answer::Status(Box::new(status::from(target, other))),
        };
        let facts = gather::gather(&target.home, &target.profile, answer, platform);
        let (findings, ways) = (examine(&facts), routes::routes(&facts));
        let text =
            if self.json { json(&facts, &ways, &findings) } else { page(&facts, &ways, &findings, Paint::stdout()) };
        let printed = output::data(&text)?;
        let wrong = findings.iter().any(|finding| finding.level == Level::Wrong);
        Ok(if wrong { ExitCode::FAILURE } else { printed })
    }
}

fn json(facts: &Facts, ways: &[Route], findings: &[Finding]) -> String {
    let passed = checks().filter(|check| findings.iter().all(|finding| finding.id != check.id)).map(|check| check.id);
    let engines = facts.engines.iter().map(|engine| {
        let answers = match engine.alive {
            Alive::Yes => Some(true),
            Alive::No => Some(false),
            Alive::Unknown => None,
        };
        let ours = engine.endpoint == facts.profile.docker_host;
        serde_json::json!({ "name": engine.name, "endpoint": engine.endpoint, "answers": answers, "ours": ours })
    });
    let value = serde_json::json!({
        "ok": findings.iter().all(|finding| finding.level < Level::Wrong),
        "profile": facts.profile.name,
        "image": facts.host.image_folder,
        "engines": engines.collect::<Vec<_>>(),
        "ways": ways,
        "findings": findings,
        "passed": passed.collect::<Vec<_>>(),
    });
    format!("{value}\n")
}

fn checks() -> impl Iterator<Item = &'static crate::doctor::Check> {
    CHECKS.iter().flat_map(|group| group.iter())
}

/// For people.
fn page(facts: &Facts, ways: &[Route], findings: &[Finding], paint: Paint) -> String {
    let mut text = String::new();
    let mut line = |words: &str| {
        text.push_str(words.trim_end());
        text.push('\n');
    };
    line(&paint.bold("Engines on this computer"));
    let rows = facts.engines.iter().map(|engine| {
        let state = match engine.alive {
            _ if engine.endpoint == facts.profile.docker_host => own_state(facts),
            Alive::Yes => "answers".to_owned(),
            Alive::No => "does not answer".to_owned(),
            Alive::Unknown => "was not asked".to_owned(),
        };
        vec![engine.name.clone(), state, engine.endpoint.clone()]
    });
    output::columns(&rows.collect::<Vec<_>>()).iter().for_each(|row| line(&format!("  {row}")));
    line("");
    line(&paint.bold("Who reaches what from this shell"));
    let rows = ways.iter().map(|way| vec![way.tool.to_owned(), way.engine.clone(), format!("by {}", way.by)]);
    output::columns(&rows.collect::<Vec<_>>()).iter().for_each(|row| line(&format!("  {row}")));
    line("");
    for group in Group::ALL {
        let of_group: Vec<&Finding> = findings.iter().filter(|finding| finding.group == group).collect();
        let count = checks().filter(|check| check.group == group).count();
        let worst = of_group.iter().map(|finding| finding.level).max();
        let rest = match of_group.len() {
            0 => String::new(),
            some => paint.dim(&format!(" ({} of {count} checks are well)", count - some)),
        };
        line(&format!("{} {}{rest}", mark(worst, paint), paint.bold(group.title())));
        for finding in of_group {
            line(&format!("  {} {}", mark(Some(finding.level), paint), finding.cause));
            line(&format!("    → {}", finding.cure));
        }
    }
    line("");
    line(&summary(findings, paint));
    text
}

/// What stands before a line.
fn mark(level: Option<Level>, paint: Paint) -> String {
    match level {
        None => paint.green("✓"),
        Some(Level::Hint) => paint.yellow("!"),
        Some(Level::Wrong) => paint.red("✗"),
    }
}

/// How our own machine is.
fn own_state(facts: &Facts) -> String {
    match (&facts.machine.status, facts.machine.silent) {
        (Some(status), _) if status.state == Phase::Stopped && status.pid.is_some() => "asleep".to_owned(),
        (Some(status), _) => status.state.name().to_owned(),
        (None, Some(_)) => "does not answer".to_owned(),
        (None, None) => "stopped".to_owned(),
    }
}

fn summary(findings: &[Finding], paint: Paint) -> String {
    let wrong = findings.iter().filter(|finding| finding.level == Level::Wrong).count();
    let hints = findings.len() - wrong;
    let some =
        |count: usize, one: &str, many: &str| if count == 1 { format!("1 {one}") } else { format!("{count} {many}") };
    let wrongs = some(wrong, "thing is wrong", "things are wrong");
    let hinted = some(hints, "hint", "hints");
    match (wrong, hints) {
        (0, 0) => paint.green(&format!("All {} checks are well", checks().count())),
        (0, _) => format!("{}, {hinted}", paint.green("Nothing is wrong")),
        (_, 0) => paint.red(&wrongs),
        _ => format!("{}, {hinted}", paint.red(&wrongs)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_names_every_finding_with_its_cure_and_counts_them() {
        let mut facts = Facts::healthy();
        facts.tools.missing_helpers = vec!["desktop".to_owned()];
        facts.tools.buildx = Default::default();
        let findings = examine(&facts);
        let text = page(&facts, &routes::routes(&facts), &findings, Paint::none());
        for words in [
            "✗ Docker tools",
            "docker-credential-desktop",
            "    → lighter context drop-helper",
            "  ! `docker buildx`",
            "✓ Machine",
        ] {
            assert!(text.contains(words), "{words:?} is not in\n{text}");
        }
        assert!(text.ends_with("\n1 thing is wrong, 1 hint\n"), "{text}");
        assert!(text.lines().all(|line| line.trim_end() == line), "no blanks at the ends of lines");
        let healthy = Facts::healthy();
        assert!(page(&healthy, &[], &examine(&healthy), Paint::none()).ends_with("checks are well\n"));
    }

    #[test]
    fn the_json_has_every_check_once() {
        let mut facts = Facts::healthy();
        facts.tools.missing_helpers = vec!["desktop".to_owned()];
        let value: serde_json::Value = serde_json::from_str(&json(&facts, &[], &examine(&facts))).unwrap();
        assert_eq!(value["ok"], false);
        assert_eq!(value["findings"][0]["id"], "credential-helper");
        assert_eq!(value["findings"][0]["level"], "wrong");
        let all = value["findings"].as_array().unwrap().len() + value["passed"].as_array().unwrap().len();
        assert_eq!(all, checks().count());
    }
}
