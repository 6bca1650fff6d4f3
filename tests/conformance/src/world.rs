//! What all cases of a run share: the socket, the image, an idle container, and the state of the swarm. Knows what was there
//! before the run, so that it can tell what a case has left behind.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::ask::versioned;
use crate::lab::filters;
use crate::reply::Reply;
use crate::wire::Wire;

/// The shared container's name.
const IDLER: &str = "cf-idler";

/// Lists that must be the same before and after: path, and the key that names an element.
const LISTS: &[(&str, &str, &str)] = &[
    ("/containers/json?all=1", "", "Names"),
    ("/images/json?all=1", "", "Id"),
    ("/volumes", "Volumes", "Name"),
    ("/networks", "", "Name"),
];

/// One run.
pub struct World {
    socket: String,
    /// The busybox image.
    pub image: String,
    deadline: Duration,
    /// The size of large bodies, in bytes.
    pub bulk: u64,
    has_idler: Cell<bool>,
    in_swarm: Cell<bool>,
    before: Cell<Option<BTreeSet<String>>>,
}

impl World {
    /// Nothing is asked yet.
    pub fn new(socket: String, image: String, deadline: Duration, bulk: u64) -> Self {
        let (has_idler, in_swarm, before) = (Cell::new(false), Cell::new(false), Cell::new(None));
        Self { socket, image, deadline, bulk, has_idler, in_swarm, before }
    }

    /// A new connection.
    pub fn connect(&self) -> Result<Wire> {
        Wire::connect(&self.socket, self.deadline)
    }

    /// Asks without recording.
    pub fn request(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Reply> {
        let path = versioned(path);
        let body = body.map(Value::to_string).unwrap_or_default();
        let mut wire = self.connect()?;
        let kind = if body.is_empty() { "" } else { "Content-Type: application/json\r\n" };
        let head = format!("{method} {path} HTTP/1.1\r\nHost: docker\r\n{kind}Content-Length: {}\r\n\r\n", body.len());
        wire.send(format!("{head}{body}").as_bytes())?;
        Reply::read(&mut wire, method).with_context(|| format!("{method} {path}"))
    }

    /// Makes a container; its id.
    pub fn create(&self, name: &str, config: &Value) -> Result<String> {
        let reply = self.request("POST", &format!("/containers/create?name={name}"), Some(config))?;
        ensure!(reply.head.status == 201, "create {name}: {} {}", reply.head.line, reply.text().trim());
        Ok(reply.json()?["Id"].as_str().context("create gave no Id")?.to_owned())
    }

    /// See [`crate::lab::Lab::idler`].
    pub fn idler(&self) -> Result<&'static str> {
        if !self.has_idler.replace(true) {
            let command = ["sh", "-c", "trap 'exit 0' TERM; while :; do sleep 3600 & wait $!; done"];
            self.create(IDLER, &json!({ "Image": self.image, "Hostname": "idler", "Cmd": command }))?;
            let started = self.request("POST", &format!("/containers/{IDLER}/start"), None)?;
            ensure!(started.head.status == 204, "start the idler: {} {}", started.head.line, started.text());
        }
        Ok(IDLER)
    }

    /// Makes this engine a swarm of its own.
    pub fn join_swarm(&self) -> Result<()> {
        if !self.in_swarm.replace(true) {
            let body = json!({ "ListenAddr": "127.0.0.1:2377", "AdvertiseAddr": "127.0.0.1" });
            let reply = self.request("POST", "/swarm/init", Some(&body))?;
            ensure!(reply.head.status == 200, "swarm init: {} {}", reply.head.line, reply.text());
        }
        Ok(())
    }

    /// Makes sure that this engine is in no swarm.
    pub fn leave_swarm(&self) -> Result<()> {
        if self.in_swarm.replace(false) {
            let reply = self.request("POST", "/swarm/leave?force=1", None)?;
            ensure!(reply.head.status == 200, "swarm leave: {} {}", reply.head.line, reply.text());
            self.request("DELETE", "/networks/docker_gwbridge", None)?;
        }
        Ok(())
    }

    /// Says that a case has changed the swarm itself.
    pub fn swarm_is(&self, active: bool) {
        self.in_swarm.set(active);
    }

    /// Takes away what a broken run left, and remembers what is there.
    pub fn sweep(&self) -> Result<()> {
        let state = self.request("GET", "/info", None)?.json()?;
        self.in_swarm.set(state["Swarm"]["LocalNodeState"] != "inactive");
        self.leave_swarm()?;
        self.take_away(
            &format!("/containers/json?all=1&{}", filters(&json!({ "name": ["^/cf-"] }))),
            "",
            "Id",
            "/containers",
        )?;
        self.take_away(&format!("/volumes?{}", filters(&json!({ "name": ["cf-"] }))), "Volumes", "Name", "/volumes")?;
        self.take_away(&format!("/networks?{}", filters(&json!({ "name": ["cf-"] }))), "", "Id", "/networks")?;
        self.take_away(&format!("/images/json?{}", filters(&json!({ "reference": ["cf/*"] }))), "", "Id", "/images")?;
        self.before.set(Some(self.census()?));
        Ok(())
    }

    fn take_away(&self, path: &str, list: &str, key: &str, family: &str) -> Result<()> {
        for name in self.names(path, list, key)? {
            self.request("DELETE", &format!("{family}/{name}?force=1"), None)?;
        }
        Ok(())
    }

    fn names(&self, path: &str, list: &str, key: &str) -> Result<Vec<String>> {
        let answer = self.request("GET", path, None)?.json()?;
        let items = if list.is_empty() { &answer } else { &answer[list] };
        Ok(items
            .as_array()
            .into_iter()
            .flatten()
            .map(|item| item[key].as_str().map_or_else(|| item[key].to_string(), str::to_owned))
            .collect())
    }

    fn census(&self) -> Result<BTreeSet<String>> {
        let mut all = BTreeSet::new();
        for (path, list, key) in LISTS {
            all.extend(self.names(path, list, key)?.into_iter().map(|name| format!("{path} {name}")));
        }
        Ok(all)
    }

    /// Takes away what cases shared, and fails if they left anything else.
    pub fn close(&self) -> Result<()> {
        self.leave_swarm()?;
        if self.has_idler.get() {
            self.request("DELETE", &format!("/containers/{IDLER}?force=1&v=1"), None)?;
        }
        let before = self.before.take().unwrap_or_default();
        let left: Vec<String> = self.census()?.difference(&before).cloned().collect();
        ensure!(left.is_empty(), "cases have left behind: {}", left.join(", "));
        Ok(())
    }
}
