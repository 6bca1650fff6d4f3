//! The network rig: lighter in a network namespace with a made-up world around it, under the software engine; the kvm rig runs
//! some of its cases in its emulated machine.

use anyhow::Result;

use super::registries::Registries;
use super::software::{session, tails};
use super::tools::Tools;
use super::world::World;
use crate::docker::{self, Case, Session, network, ports, reach, registry, served};

/// These take minutes, show little that others do not, and run by name only.
pub const ASKED: &[&str] = &[
    "net_a_container_fetches_1_gb_by_its_hash",
    "net_idle_connections_live_on_after_ten_minutes",
    "reach_g14_every_port_asked_from_the_guests_own_network",
];

/// The cases of this rig, whatever runs the guest.
pub fn cases() -> Vec<Case> {
    let mut cases = network::cases();
    cases.extend(ports::cases());
    cases.extend(served::cases());
    cases.extend(reach::cases());
    cases.extend(registry::cases());
    cases
}

/// The software engine in a made-up world.
pub fn run(tools: &Tools, wanted: &[String]) -> Result<()> {
    let dir = tempfile::Builder::new().prefix("lt").tempdir_in("/tmp")?;
    in_world("network", session(tools, dir.path(), "software", 1)?, tools, wanted)
}

/// Makes the world, starts lighter in it, runs the cases, and takes both down whatever happened.
pub fn in_world(rig: &str, mut session: Session, tools: &Tools, wanted: &[String]) -> Result<()> {
    let world = World::make()?;
    session.lighter = world.lighter(&session.dir, &tools.lighter)?;
    // As everybody has it who has not said anything.
    std::fs::write(session.dir.join("home/default/config.toml"), "")?;
    let of_registries = registry::cases().iter().any(|case| docker::is_wanted(case.name, wanted));
    let registries =
        of_registries.then(|| Registries::start(tools, &world, &session.dir.join("registries"))).transpose()?;
    let result = session.start().and_then(|()| {
        session.import_busybox()?;
        let taken = |case: &Case| !wanted.is_empty() || !ASKED.contains(&case.name);
        docker::run_cases(&session, rig, cases().into_iter().filter(taken).collect(), wanted)
    });
    drop(session.lighter(["stop", "--quit", "--force"]).finish());
    drop(registries);
    if result.is_err() {
        tails(&session);
    }
    result
}
