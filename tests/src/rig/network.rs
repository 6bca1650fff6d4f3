//! The network rig: lighter under the software engine in a network namespace with a made-up world around it.

use anyhow::Result;

use super::registries::Registries;
use super::software::{session, tails};
use super::tools::Tools;
use super::world::World;
use crate::docker::{self, network, ports, registry};

/// Makes the world, starts lighter in it, runs the cases, and takes both down whatever happened.
pub fn run(tools: &Tools, wanted: &[String]) -> Result<()> {
    let world = World::make()?;
    let dir = tempfile::Builder::new().prefix("lt").tempdir_in("/tmp")?;
    let mut session = session(tools, dir.path(), "software", 1)?;
    session.lighter = world.lighter(dir.path(), &tools.lighter)?;
    // As everybody has it who has not said anything.
    std::fs::write(dir.path().join("home/default/config.toml"), "")?;
    let of_registries = registry::cases().iter().any(|case| docker::is_wanted(case.name, wanted));
    let registries =
        of_registries.then(|| Registries::start(tools, &world, &session.dir.join("registries"))).transpose()?;
    let mut cases = network::cases();
    cases.extend(ports::cases());
    cases.extend(registry::cases());
    let result = session.start().and_then(|()| {
        session.import_busybox()?;
        docker::run_cases(&session, "network", cases, wanted)
    });
    drop(session.lighter(["stop", "--quit", "--force"]).finish());
    drop(registries);
    if result.is_err() {
        tails(&session);
    }
    result
}
