//! Real Docker clients against a guest under the software engine.

use anyhow::Result;

use crate::packages;
use crate::rig::tools::Tools;

pub(super) fn run(words: &[String]) -> Result<()> {
    packages::ensure(packages::RUN)?;
    crate::clients::run(&Tools::prepare()?, words)
}
