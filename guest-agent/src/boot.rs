//! The boot, in order. Each stage that fails ends the machine with the stage's name, cause and cure. Called by `main`.

use std::error::Error;
use std::path::Path;

use lighter_protocol::{Event, paths};

use crate::host::{self, Host, Orders};
use crate::{
    Guest, cgroup, clock, data_disk, disks, engine, fatal, folders, mounts, network, publish, reaper, settings,
};

/// What a failed stage says.
type Failure = Box<dyn Error>;

/// Boots the guest up to an engine that is starting.
pub fn boot() -> Guest {
    stage("pid1", mounts::kernel());
    let pid1 = clock::uptime_ms();
    let (host, orders, secret) = stage("hello", greet());
    fatal::tell(host.clone());
    host.report(&Event::Stage { name: "pid1".into(), uptime_ms: pid1 });
    host.stage("hello");
    stage("root", root());
    host.stage("root");
    stage("kernel", kernel_interfaces(&orders));
    let reaper = stage("reaper", reaper::Reaper::start());
    stage("data", data(&reaper, &host, &orders));
    host.stage("data");
    // After everything that is the machine's own, and before containers that are started again.
    folders::mount_all(&orders.boot.folders);
    // Before dockerd, which publishes the ports of containers that it restarts.
    stage("ports", publish::serve(secret));
    let engine = stage("engine", engine::Engine::start(&reaper, &host, &orders));
    Guest { host, reaper, engine }
}

/// The stage's result; the end of the machine if it failed.
fn stage<T, E: Into<Failure>>(name: &str, result: Result<T, E>) -> T {
    result.unwrap_or_else(|error| fatal::end(name, &*error.into()))
}

fn greet() -> Result<(Host, Orders, String), Failure> {
    let secret = host::take_secret()?;
    let (host, orders) = host::greet(host::dial()?, secret.clone())?;
    Ok((host, orders, secret))
}

fn root() -> Result<(), Failure> {
    mounts::switch_root(&disks::find(paths::ROOT_SERIAL)?)?;
    Ok(mounts::memory()?)
}

fn kernel_interfaces(orders: &Orders) -> Result<(), Failure> {
    cgroup::start()?;
    settings::apply();
    network::loopback_up()?;
    if let Some(network) = &orders.boot.network
        && let Err(error) = network::interface_up(network)
    {
        // Containers without a way out are better than none.
        tracing::error!(%error, "network interface could not be set up");
    }
    clock::set(orders.boot.unix_seconds, orders.boot.unix_nanos)?;
    rustix::system::sethostname(orders.boot.hostname.as_bytes())?;
    Ok(network::name_files(&orders.boot.hostname, orders.boot.network.as_ref())?)
}

fn data(reaper: &reaper::Reaper, host: &Host, orders: &Orders) -> Result<(), Failure> {
    let device = disks::find(paths::DATA_SERIAL)?;
    let data = Path::new(paths::DATA);
    let busy = || host.report(&Event::Busy { doing: "check".into() });
    let keeper = data_disk::Keeper { reaper, busy: &busy };
    data_disk::open(keeper, &device, data, orders.boot.data_disk_blank, Path::new("/run/lighter"))?;
    Ok(mounts::engine_folders(data)?)
}
