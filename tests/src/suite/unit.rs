//! The native tests of every crate, house rules included. No guest is booted here.

use anyhow::Result;

use crate::packages;
use crate::products::cargo;

pub(super) fn run() -> Result<()> {
    packages::ensure(packages::RUN)?;
    packages::ensure(packages::TEST)?;
    cargo(["test", "--quiet", "--workspace", "--locked"]).show()
}
