//! The boot, in order. Each stage that fails ends the machine with the stage's name, cause and cure. Called by `main`.

use std::error::Error;
use std::path::Path;

use lighter_protocol::paths;

use crate::host::{self, Host, Orders};
use crate::{Guest, cgroup, clock, data_disk, disks, engine, fatal, mounts, network, reaper, settings};

/// What a failed stage says.
type Failure = Box<dyn Error>;

/// Boots the guest up to an engine that is starting.
pub fn boot() -> Guest {
    stage("pid1", mounts::kernel());
    let pid1 = clock::uptime_ms();
    let (host, orders) = stage("hello", greet());
    fatal::tell(host.clone());
    host.report(&lighter_protocol::Event::Stage { name: "pid1".into(), uptime_ms: pid1 });
    host.stage("hello");
    stage("root", root());
    host.stage("root");
    stage("kernel", kernel_interfaces(&orders));
    let reaper = stage("reaper", reaper::Reaper::start());
    stage("data", data(&reaper, &orders));
    host.stage("data");
    let engine = stage("engine", engine::Engine::start(&reaper, &host, &orders));
    Guest { host, reaper, engine }
}

/// The stage's result; the end of the machine if it failed.
fn stage<T, E: Into<Failure>>(name: &str, result: Result<T, E>) -> T {
    result.unwrap_or_else(|error| fatal::end(name, &*error.into()))
}

fn greet() -> Result<(Host, Orders), Failure> {
    let secret = host::take_secret()?;
    Ok(host::greet(host::dial()?, secret)?)
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

fn data(reaper: &reaper::Reaper, orders: &Orders) -> Result<(), Failure> {
    let device = disks::find(paths::DATA_SERIAL)?;
    let data = Path::new(paths::DATA);
    data_disk::open(reaper, &device, data, orders.boot.data_disk_blank, Path::new("/run/lighter"))?;
    Ok(mounts::engine_folders(data)?)
}
