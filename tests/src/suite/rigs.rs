//! The guest rigs as suites.

use anyhow::Result;

use crate::packages;
use crate::rig::tools::Tools;
use crate::rig::{kvm as kvm_rig, network as network_rig, software as software_rig};

/// Makes everything that the rigs share, so that two at once find it made.
pub(super) fn prepare() -> Result<()> {
    packages::ensure(packages::RUN)?;
    packages::ensure(packages::RIGS)?;
    Tools::prepare().map(drop)
}

pub(super) fn software(cases: &[String]) -> Result<()> {
    packages::ensure(packages::RUN)?;
    packages::ensure(packages::RIGS)?;
    software_rig::run(&Tools::prepare()?, cases)
}

pub(super) fn network(cases: &[String]) -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        println!("network: NOT RUN, because only root can make network namespaces");
        return Ok(());
    }
    packages::ensure(packages::RUN)?;
    packages::ensure(packages::NETWORK_RIG)?;
    network_rig::run(&Tools::prepare()?, cases)
}

pub(super) fn kvm(cases: &[String]) -> Result<()> {
    packages::ensure(packages::RUN)?;
    packages::ensure(packages::RIGS)?;
    kvm_rig::run(&Tools::prepare()?, cases)
}
