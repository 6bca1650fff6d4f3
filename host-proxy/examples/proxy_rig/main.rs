//! What measures and loads the Docker API proxy without a guest: the product's own program over a machine whose dockerd is
//! a socket on this host, the dockerd that listens there, and a thousand clients. `cargo xtask bench proxy`, `soak proxy`
//! and the `load` suite build and run it.
//!
//! ```text
//! LIGHTER_RIG_ENGINE=SOCKET proxy_rig start --foreground …    `lighter` itself, its machine replaced (see `machine`)
//! proxy_rig engine SOCKET                                     the stand-in dockerd
//! proxy_rig load SOCKET SECONDS                               1 000 clients; a report as JSON (see `load`)
//! ```

mod load;
mod machine;
#[path = "../../tests/stand_in/mod.rs"]
mod stand_in;
mod visits;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lighter::sys::endpoint::Listener;

type Failure = Box<dyn Error>;

fn main() -> Result<ExitCode, Failure> {
    let since = Instant::now();
    if let Some(engine) = std::env::var_os("LIGHTER_RIG_ENGINE") {
        return Ok(lighter::cli::run(Arc::new(machine::Rig::new(PathBuf::from(engine))?), since));
    }
    let words: Vec<String> = std::env::args().skip(1).collect();
    // One thread: an engine or a client that itself goes to and fro between threads would be measured with the proxy.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    lighter::sys::process::raise_file_limit();
    match &words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["engine", socket] => runtime.block_on(engine(Path::new(socket)))?,
        ["load", socket, seconds] => {
            let report = runtime.block_on(load::run(Path::new(socket), Duration::from_secs(seconds.parse()?)));
            println!("{report}");
        }
        _ => return Err("proxy_rig engine SOCKET | load SOCKET SECONDS".into()),
    }
    Ok(ExitCode::SUCCESS)
}

/// Serves the stand-in dockerd for ever.
async fn engine(socket: &Path) -> Result<(), Failure> {
    let mut listener = Listener::bind(socket)?;
    // Nobody listens to its events here.
    let (engine, _) = stand_in::engine::Engine::new();
    loop {
        let stream = listener.accept().await?;
        tokio::spawn(engine.clone().serve(stream));
    }
}
