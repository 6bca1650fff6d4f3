//! How long dockerd takes by itself inside the same guest: the figure beside which a start of the whole machine stands. It
//! runs as anybody would start it, with a containerd of its own, an empty data root and a network namespace of its own,
//! so that it lays its own bridge and rules; the guest and its page cache are warm, which favours it. Called by `boot`.

use anyhow::{Context, Result, ensure};

use crate::docker::Session;

/// Prints the seconds from the exec of dockerd to its word that it serves, by the guest's clock.
const SCRIPT: &str = r#"
mkdir -p /data/own-start
begin=$(cut -d' ' -f1 /proc/uptime)
unshare -n -m sh -c 'mount -t tmpfs none /run/containerd; exec dockerd --host unix:///run/own-start.sock \
  --data-root /data/own-start --exec-root /run/own-start --pidfile /run/own-start.pid --userland-proxy=false' 2>&1 | {
  end=
  while read -r line; do
    echo "$line"
    case $line in *"API listen on"*) end=$(cut -d' ' -f1 /proc/uptime); kill "$(cat /run/own-start.pid)" ;; esac
  done
  [ -n "$end" ] && echo "$begin $end" | awk '{ print "seconds", $2 - $1 }'
}
"#;

/// Milliseconds of the guest's time from dockerd's exec to its first answer.
pub fn milliseconds(session: &Session) -> Result<f64> {
    let shell = session.lighter(["shell", "sh", "-c", SCRIPT]);
    let said = shell.within(session.seconds(180)).ok().context("dockerd by itself")?.text();
    let seconds = said.lines().find_map(|line| line.strip_prefix("seconds ")?.trim().parse::<f64>().ok());
    ensure!(seconds.is_some_and(|seconds| seconds > 0.0), "dockerd by itself: no time in {said:?}");
    Ok(seconds.unwrap_or_default() * 1000.0)
}
