//! Stage times of one start as JSON, for measurements: `LIGHTER_TIMELINE=FILE` makes the daemon write the file when the
//! machine is ready and again when it has ended. Called by `lifecycle`.
//!
//! ```text
//! {"stages": [{"name", "text", "host_ms": since the daemon's exec, "guest_ms": since the guest's boot or null}],
//!  "exits": {reason: count}}
//! ```

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Serialize;

use crate::control::Stage;
use crate::replace::replace;

#[derive(Serialize)]
struct Timeline<'a> {
    stages: &'a [Stage],
    exits: BTreeMap<String, u64>,
}

/// Writes what is known now, if somebody wants to know.
pub fn write(stages: &[Stage], exits: BTreeMap<String, u64>) {
    let Some(path) = std::env::var_os("LIGHTER_TIMELINE").filter(|path| !path.is_empty()).map(PathBuf::from) else {
        return;
    };
    let written = serde_json::to_vec_pretty(&Timeline { stages, exits }).map_err(std::io::Error::from);
    if let Err(error) = written.and_then(|json| replace(&path, &json)) {
        tracing::warn!(%error, path = %path.display(), "Cannot write the timeline");
    }
}
