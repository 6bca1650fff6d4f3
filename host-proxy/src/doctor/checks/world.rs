//! The user's network world: do the proxies answer, can the machine reach them, can the certificates be used? Group: this
//! computer, because that is where all of it is.

use crate::doctor::engines::is_loopback;
use crate::doctor::facts::Facts;
use crate::doctor::{Check, Found, Group};

const GROUP: Group = Group::Host;

pub(super) const CHECKS: &[Check] = &[
    Check { id: "proxy-silent", group: GROUP, look: silent },
    Check { id: "proxy-closed", group: GROUP, look: closed },
    Check { id: "proxy-variable", group: GROUP, look: bad_variable },
    Check { id: "proxy-settings", group: GROUP, look: settings },
    Check { id: "ca-certificates", group: GROUP, look: certificates },
    Check { id: "host-certificates", group: GROUP, look: no_native },
];

fn config(facts: &Facts) -> String {
    super::short(&facts.profile.dir.join("config.toml"))
}

fn silent(facts: &Facts) -> Option<Found> {
    let proxy = facts.world.proxies.iter().find(|proxy| proxy.silent.is_some())?;
    let why = proxy.silent.as_deref().unwrap_or_default();
    let cause = format!("The proxy {} does not answer ({why}), so pulls fail", proxy.shown);
    // Without a network there are no pulls in the first place.
    Found::of(
        facts.world.network,
        cause,
        format!("${{EDITOR:-vi}} {} (proxy = \"off\", or [proxy] with the right one)", config(facts)),
    )
}

fn closed(facts: &Facts) -> Option<Found> {
    let proxy = facts.world.proxies.iter().find(|proxy| proxy.closed)?;
    let cause = format!(
        "The proxy {} is on this computer, on a port that `host_access` closes to the machine, so pulls fail",
        proxy.shown
    );
    Found::of(
        facts.world.network,
        cause,
        format!(
            "${{EDITOR:-vi}} {} (host_access = true, or \"all\" for a port below 1024, or another proxy)",
            config(facts)
        ),
    )
}

fn bad_variable(facts: &Facts) -> Option<Found> {
    let (key, reason) = facts.world.bad_variables.first()?;
    let name = format!("{}_PROXY", key.trim_end_matches("_proxy").to_ascii_uppercase());
    Found::hint(
        format!("{name} in this shell is left out: {reason}"),
        format!("unset {name} {}", name.to_ascii_lowercase()),
    )
}

fn settings(facts: &Facts) -> Option<Found> {
    let (name, value) = facts.docker.proxies.iter().find(|(_, url)| is_loopback(url))?;
    let path = super::short(&facts.docker.dir.join("config.json"));
    let cause = format!("{path} gives containers the proxy {} ({name}), which is their own loopback", bare(value));
    Found::wrong(
        cause,
        format!("${{EDITOR:-vi}} {path} (host.docker.internal is this computer's loopback for containers)"),
    )
}

fn certificates(facts: &Facts) -> Option<Found> {
    let error = facts.world.certificates_error.as_deref()?.replace('\n', " ");
    Found::wrong(error, format!("${{EDITOR:-vi}} {}", config(facts)))
}

fn no_native(facts: &Facts) -> Option<Found> {
    facts.world.no_native_certificates.then_some(())?;
    let cause = "This computer has no root certificates, so the machine trusts only those of the guest image";
    let cure = if facts.tools.packager.as_deref() == Some("apt-get") {
        "sudo apt-get install ca-certificates"
    } else {
        "install your system's package of root certificates (ca-certificates)"
    };
    Found::hint(cause, cure)
}

/// A URL without a password.
fn bare(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").map_or(("", url), |(scheme, rest)| (scheme, rest));
    let rest = rest.rsplit_once('@').map_or(rest, |(_, rest)| rest);
    if scheme.is_empty() { rest.to_owned() } else { format!("{scheme}://{rest}") }
}

#[cfg(test)]
pub(in crate::doctor) mod tests {
    use crate::doctor::facts::{Facts, ProxyFacts};
    use crate::doctor::samples::finds;

    fn proxy(facts: &mut Facts, closed: bool, silent: Option<&str>) {
        let (shown, silent) = ("http://proxy:3128".to_owned(), silent.map(str::to_owned));
        facts.world.proxies.push(ProxyFacts { shown, closed, silent });
    }

    finds! {
        c9_a_proxy_that_does_not_answer: "proxy-silent", Wrong,
            |f: &mut Facts| proxy(f, false, Some("Connection refused")), ["http://proxy:3128 does not answer (Connection refused)", "proxy = \"off\""];
        c9_a_proxy_on_a_host_that_is_closed: "proxy-closed", Wrong,
            |f: &mut Facts| proxy(f, true, None), ["`host_access` closes", "config.toml"];
        c9_a_proxy_variable_that_is_of_no_use: "proxy-variable", Hint,
            |f: &mut Facts| f.world.bad_variables.push(("https".to_owned(), "it names no host".to_owned())), ["HTTPS_PROXY in this shell", "unset HTTPS_PROXY https_proxy"];
        c9_a_proxy_setting_that_means_the_loopback: "proxy-settings", Wrong,
            |f: &mut Facts| drop(f.docker.proxies.insert("httpProxy".to_owned(), "http://me:secret@127.0.0.1:8080".to_owned())), ["httpProxy", "http://127.0.0.1:8080", "config.json", "host.docker.internal"];
        c9_a_certificate_file_that_cannot_be_read: "ca-certificates", Wrong,
            |f: &mut Facts| f.world.certificates_error = Some("Cannot read /corp.pem, which `ca_certificates` names".to_owned()), ["/corp.pem", "config.toml"];
        c9_a_computer_that_trusts_nobody: "host-certificates", Hint,
            |f: &mut Facts| f.world.no_native_certificates = true, ["no root certificates", "apt-get install ca-certificates"];
    }
}
