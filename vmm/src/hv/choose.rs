//! Which engine runs the guest: the one wished for, or the first usable one, with the reason in one line. Called by the
//! daemon before it starts a machine and by `doctor`.

use super::{CANDIDATES, probe_backend};
use crate::config::EngineKind;

/// An engine cannot be used here; says why and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}; {cure}")]
pub struct Unusable {
    /// Which engine.
    pub engine: EngineKind,
    /// Why not, in one line.
    pub reason: String,
    /// What the user can do.
    pub cure: String,
}

impl Unusable {
    /// The backend is not part of this build.
    pub(super) fn not_in_this_build(engine: EngineKind) -> Self {
        Self {
            engine,
            reason: format!("The {} engine is not available in this build of lighter on this system", engine.name()),
            cure: "`lighter start --engine auto` lets lighter choose".into(),
        }
    }
}

/// The decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chosen {
    /// The engine to start.
    pub engine: EngineKind,
    /// Why a better one was passed over, in one line; `None` when nothing was.
    pub why: Option<String>,
}

/// No engine can run here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("No engine can run the guest here. {}", reasons(.0))]
pub struct NoEngine(pub Vec<Unusable>);

fn reasons(all: &[Unusable]) -> String {
    all.iter().map(|one| format!("{}: {one}", one.engine.name())).collect::<Vec<_>>().join(". ")
}

/// Says whether `engine` can run an ordinary guest here. Blocks the calling thread: a few milliseconds when all is well,
/// a third of a second to find an interpreter out, up to ten seconds on a host that is overloaded beyond use.
pub fn probe(engine: EngineKind) -> Result<(), Unusable> {
    probe_backend(engine).unwrap_or_else(|| Err(Unusable::not_in_this_build(engine)))
}

/// Says whether this build has `engine` on this system at all, without a look at the host.
pub fn offered(engine: EngineKind) -> Result<(), Unusable> {
    if CANDIDATES.contains(&engine) { Ok(()) } else { Err(Unusable::not_in_this_build(engine)) }
}

/// Picks the engine: exactly `wish` if there is one, else the first usable one.
pub fn choose(wish: Option<EngineKind>) -> Result<Chosen, NoEngine> {
    decide(wish, CANDIDATES, probe)
}

fn decide(
    wish: Option<EngineKind>,
    candidates: &[EngineKind],
    probe: impl Fn(EngineKind) -> Result<(), Unusable>,
) -> Result<Chosen, NoEngine> {
    if let Some(engine) = wish {
        return probe(engine).map(|()| Chosen { engine, why: None }).map_err(|unusable| NoEngine(vec![unusable]));
    }
    let mut passed_over = Vec::new();
    for &engine in candidates {
        match probe(engine) {
            Ok(()) => {
                let why =
                    passed_over.first().map(|first: &Unusable| format!("Using the {} engine: {first}", engine.name()));
                return Ok(Chosen { engine, why });
            }
            Err(unusable) => passed_over.push(unusable),
        }
    }
    Err(NoEngine(passed_over))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unusable(engine: EngineKind) -> Unusable {
        Unusable { engine, reason: "/dev/kvm does not exist".into(), cure: "load the kvm module".into() }
    }

    const BOTH: &[EngineKind] = &[EngineKind::Kvm, EngineKind::Software];

    #[test]
    fn a_usable_hypervisor_is_taken_without_comment() {
        let chosen = decide(None, BOTH, |_| Ok(())).expect("the first one is usable");
        assert_eq!(chosen, Chosen { engine: EngineKind::Kvm, why: None });
    }

    #[test]
    fn c8_an_unusable_hypervisor_leads_to_software_and_one_line_says_why() {
        let chosen =
            decide(None, BOTH, |engine| if engine == EngineKind::Kvm { Err(unusable(engine)) } else { Ok(()) })
                .expect("software is usable");
        let why = chosen.why.expect("something was passed over");
        assert_eq!(chosen.engine, EngineKind::Software);
        assert!(why.contains("/dev/kvm does not exist") && !why.contains('\n'), "{why}");
    }

    #[test]
    fn c8_nothing_usable_names_every_reason_and_cure() {
        let error = decide(None, BOTH, |engine| Err(unusable(engine))).expect_err("nothing is usable").to_string();
        assert!(error.contains("kvm: /dev/kvm does not exist; load the kvm module. software: "), "{error}");
    }

    #[test]
    fn a_wish_is_never_replaced() {
        let error = decide(Some(EngineKind::Whp), BOTH, |engine| {
            if engine == EngineKind::Whp { Err(Unusable::not_in_this_build(engine)) } else { Ok(()) }
        })
        .expect_err("the wish is not usable");
        assert_eq!(error.0[0].engine, EngineKind::Whp);
    }
}
