//! What hypervisors of hosts other than Linux leave to their monitor to work out: instructions, answers, messages. All of it
//! is arithmetic, so that every system's is tested on every system. Called by the backends beside it.

pub mod whp;
