//! The real image, engines and machines, for the daemon. Called through `machine::Platform`.

use std::sync::Arc;

use lighter_vmm::{EngineKind, MachineConfig};

use crate::machine::{Cause, Chosen, GuestImage, Machine, Platform};

/// This host.
#[derive(Debug)]
pub struct ThisHost;

impl Platform for ThisHost {
    fn image(&self) -> Result<GuestImage, Cause> {
        Err("This build has no guest image".into())
    }

    fn choose(&self, _wish: Option<EngineKind>) -> Result<Chosen, Cause> {
        Err("This build has no engine".into())
    }

    fn start(&self, _config: MachineConfig) -> Result<Arc<dyn Machine>, Cause> {
        Err("This build has no engine".into())
    }
}
