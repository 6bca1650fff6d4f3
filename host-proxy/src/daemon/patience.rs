//! How long the daemon waits for each stage of a guest's life. Hardware is given far more than it ever needs; a software
//! CPU on a busy machine is some ten times slower.

use std::time::Duration;

use lighter_vmm::EngineKind;

/// Deadlines, each for one stage.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// From power on to the agent's hello.
    pub hello: Duration,
    /// From one report of the agent to the next.
    pub stage: Duration,
    /// From hello to a ready engine, whatever is reported meanwhile; time in which the guest shows that it is busy is not counted.
    pub ready: Duration,
    /// But only so much of that.
    pub busy: Duration,
    /// For an answer of dockerd or of the agent.
    pub ping: Duration,
    /// For flushing and unmounting, on top of the containers' grace.
    pub unmount: Duration,
}

impl Patience {
    /// For an engine.
    pub fn of(engine: EngineKind) -> Patience {
        let factor = if engine == EngineKind::Software { 4 } else { 1 };
        let seconds = |count: u64| Duration::from_secs(count * factor);
        Patience {
            hello: seconds(60),
            stage: seconds(180),
            ready: seconds(600),
            // A check of a disk of terabytes.
            busy: seconds(4 * 3600),
            ping: seconds(15),
            unmount: seconds(30),
        }
    }
}
