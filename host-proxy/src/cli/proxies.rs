//! What `lighter start` does about proxies beside starting the machine: warns of what will not work, and has the docker CLI
//! give containers the same proxies that the machine got. Called by `start`.

use super::{Target, output};
use crate::context::{Context, Given};
use crate::daemon::trust;
use crate::settings::proxy::ProxyWords;
use crate::settings::{self, Host, Settings};

/// Refuses certificate files that are of no use, and says what else will not work.
pub fn check(settings: &Settings) -> anyhow::Result<()> {
    let trust = trust::of_files(&settings.world.ca_certificates)?;
    let warnings = settings.world.warnings(&ProxyWords::from_env(), settings.host_access);
    for warning in warnings.iter().chain(&trust.warnings) {
        output::talk(&format!("warning: {warning}"));
    }
    Ok(())
}

/// Makes docker's settings agree with a machine that was started in this process's environment. Never fails a start.
pub fn give(target: &Target) {
    let config = target.profile.config();
    let settings = settings::load(&config).and_then(|wishes| Settings::new(&wishes, Host::here(), &config));
    // The machine runs, so they were good a moment ago.
    let Ok(settings) = settings else { return };
    let (proxies, _) = settings.world.proxies(&ProxyWords::from_env());
    let wanted = settings.network && settings.world.container_proxies;
    let entry = proxies.for_containers().filter(|_| wanted);
    let given = Context::of(&target.profile).and_then(|context| context.give_proxies(entry.as_ref()));
    let for_whom = match &given {
        Ok(Given::Ours) => "pulls, builds and containers",
        Ok(Given::None) => "pulls; containers get none",
        Ok(Given::TheUsers) => "pulls; containers get what docker's config.json says",
        Err(_) => "pulls",
    };
    if let Some(shown) = proxies.shown().filter(|_| settings.network) {
        output::talk(&format!("  proxy           {shown}, for {for_whom}"));
    }
    if let Err(error) = given {
        output::talk(&format!("warning: {:#}", anyhow::Error::new(error)));
    }
}
