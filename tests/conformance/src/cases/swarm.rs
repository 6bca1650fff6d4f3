//! Swarm: refused before there is one; then a swarm of one node with services, tasks, secrets, configs. It listens on the loopback
//! address of the engine's own machine. The cases of `outside` need no swarm, those of `inside` share one.

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use crate::ask::Show;
use crate::case::{cases, questions};
use crate::lab::{Lab, filters};

/// Requests that need a swarm where there is none.
pub mod outside {
    use super::*;

    questions! { "swarm_outside":
        swarm GET "/swarm" => 503,
        unlock_key GET "/swarm/unlockkey" => 503,
        unlock POST "/swarm/unlock" with "{\"UnlockKey\":\"SWMKEY-1-none\"}" => 503,
        update POST "/swarm/update?version=1" with "{}" => 503,
        leave POST "/swarm/leave" => 503,
        join_nothing POST "/swarm/join" with "{}" => 400,
        init_bad_address POST "/swarm/init" with "{\"ListenAddr\":\"nowhere:at:all\"}" => 400,
        nodes GET "/nodes" => 503,
        node GET "/nodes/cf-none" => 503,
        services GET "/services" => 503,
        service_create POST "/services/create" with "{\"Name\":\"cf-s\"}" => 503,
        service_logs GET "/services/cf-none/logs?stdout=1" => 503,
        tasks GET "/tasks" => 503,
        task GET "/tasks/cf-none" => 503,
        secrets GET "/secrets" => 503,
        secret_create POST "/secrets/create" with "{\"Name\":\"cf-s\",\"Data\":\"eA==\"}" => 503,
        configs GET "/configs" => 503,
        config_delete DELETE "/configs/cf-none" => 503,
        overlay_network POST "/networks/create" with "{\"Name\":\"cf-overlay\",\"Driver\":\"overlay\"}" => 403,
    }
}

cases! { "swarm":
    init_inspect_leave, nodes, secrets, configs, service_with_tasks_and_logs, service_with_a_secret_and_a_config,
    service_errors, overlay_network, join_tokens_and_rotation,
}

/// The version that an update must name.
fn version(object: &Value) -> Result<u64> {
    object["Version"]["Index"].as_u64().context("an object without a version")
}

fn init_inspect_leave(lab: &mut Lab) -> Result<()> {
    lab.world.leave_swarm()?;
    let body = json!({ "ListenAddr": "127.0.0.1:2377", "AdvertiseAddr": "127.0.0.1" });
    lab.world.swarm_is(true);
    lab.post("/swarm/init").json(&body).expect(200)?;
    lab.get("/swarm").show(Show::Shape).expect(200)?;
    lab.post("/swarm/init").json(&body).expect(503)?;
    lab.post("/swarm/join").json(&json!({ "RemoteAddrs": ["127.0.0.1:2377"], "JoinToken": "x" })).expect(503)?;
    // The last manager leaves only by force.
    lab.post("/swarm/leave").expect(503)?;
    lab.post("/swarm/leave?force=1").expect(200)?;
    lab.get("/swarm").expect(503)?;
    lab.world.swarm_is(false);
    // Where an overlay network was made before, its bridge to the outside stays.
    lab.later("DELETE", "/networks/docker_gwbridge");
    Ok(())
}

fn nodes(lab: &mut Lab) -> Result<()> {
    lab.world.join_swarm()?;
    let nodes = lab.get("/nodes").show(Show::Shape).expect(200)?.json()?;
    let node = &nodes[0];
    let id = node["ID"].as_str().context("a node without an id")?.to_owned();
    ensure!(node["ManagerStatus"]["Leader"] == true, "{node}");
    lab.get(&format!("/nodes/{id}")).show(Show::Shape).expect(200)?;
    lab.get("/nodes/cf-none").expect(404)?;
    lab.get(&format!("/nodes?{}", filters(&json!({ "role": ["worker"] })))).expect(200)?;
    let spec = json!({ "Role": "manager", "Availability": "active", "Labels": { "cf": "node" } });
    let current = version(&lab.quiet("GET", &format!("/nodes/{id}"), None, 200)?.json()?)?;
    lab.hide(&format!("version={current}"), "version=<current>");
    lab.post(&format!("/nodes/{id}/update?version={current}")).json(&spec).expect(200)?;
    lab.post(&format!("/nodes/{id}/update?version=odd")).json(&spec).expect(400)?;
    lab.post(&format!("/nodes/{id}/update?version=1")).json(&spec).show(Show::Head).expect(500)?;
    lab.delete(&format!("/nodes/{id}")).show(Show::Head).expect(400).map(drop)
}

/// Makes, lists, updates and removes a secret or a config.
fn kept_data(lab: &mut Lab, family: &str) -> Result<()> {
    lab.world.join_swarm()?;
    let name = format!("cf-{family}");
    let spec = json!({ "Name": name, "Labels": { "cf": family }, "Data": "d2hpc3BlcmVk" });
    let created = lab.post(&format!("/{family}/create")).json(&spec).expect(201)?.json()?;
    let id = created["ID"].as_str().context("no id")?.to_owned();
    lab.later("DELETE", format!("/{family}/{id}"));
    lab.post(&format!("/{family}/create")).json(&spec).expect(409)?;
    lab.post(&format!("/{family}/create")).json(&json!({ "Name": "bad name!", "Data": "" })).expect(400)?;
    let seen = lab.get(&format!("/{family}/{name}")).expect(200)?.json()?;
    lab.get(&format!("/{family}?{}", filters(&json!({ "name": [name] })))).expect(200)?;
    lab.get(&format!("/{family}?{}", filters(&json!({ "colour": ["red"] })))).expect(400)?;
    let current = version(&seen)?;
    lab.hide(&format!("version={current}"), "version=<current>");
    let spec = json!({ "Name": name, "Labels": { "cf": "changed" } });
    lab.post(&format!("/{family}/{id}/update?version={current}")).json(&spec).expect(200)?;
    lab.post(&format!("/{family}/{id}/update")).json(&spec).expect(400)?;
    lab.delete(&format!("/{family}/{id}")).expect(204)?;
    lab.delete(&format!("/{family}/{id}")).expect(404).map(drop)
}

fn secrets(lab: &mut Lab) -> Result<()> {
    kept_data(lab, "secrets")
}

fn configs(lab: &mut Lab) -> Result<()> {
    kept_data(lab, "configs")
}

/// Waits until the service's task is in `state`; the task's id.
fn task_in(lab: &mut Lab, service: &str, state: &str) -> Result<String> {
    let path = format!("/tasks?{}", filters(&json!({ "service": [service] })));
    let mut last = Value::Null;
    for _ in 0..600 {
        last = lab.quiet("GET", &path, None, 200)?.json()?;
        let found = last.as_array().into_iter().flatten().find(|task| task["Status"]["State"] == state);
        if let Some(id) = found.and_then(|task| task["ID"].as_str()) {
            return Ok(id.to_owned());
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    bail!("no task of {service} became {state}: {last}")
}

fn service_with_tasks_and_logs(lab: &mut Lab) -> Result<()> {
    lab.world.join_swarm()?;
    let spec = json!({
        "Name": "cf-service", "Labels": { "cf": "service" },
        "TaskTemplate": {
            "ContainerSpec": { "Image": lab.image(), "Command": ["echo", "from a task"], "Labels": { "cf": "task" } },
            "RestartPolicy": { "Condition": "none" },
        },
        "Mode": { "Replicated": { "Replicas": 1 } },
    });
    let created = lab.post("/services/create").json(&spec).show(Show::Shape).expect(201)?.json()?;
    let id = created["ID"].as_str().context("no id")?.to_owned();
    lab.later("DELETE", format!("/services/{id}"));
    let task = task_in(lab, "cf-service", "complete")?;
    lab.get("/services/cf-service").expect(200)?;
    lab.get("/services/cf-service?insertDefaults=1").show(Show::Shape).expect(200)?;
    lab.get(&format!("/services?{}", filters(&json!({ "name": ["cf-service"] })))).expect(200)?;
    lab.get(&format!("/tasks/{task}")).show(Show::Shape).expect(200)?;
    for path in ["/services/cf-service", &format!("/tasks/{task}")] {
        let logs = lab.get(&format!("{path}/logs?stdout=1&stderr=1")).expect(200)?;
        ensure!(logs.text().contains("from a task\n"), "{:?}", logs.text());
    }
    let service = lab.quiet("GET", "/services/cf-service", None, 200)?.json()?;
    let mut changed = service["Spec"].clone();
    changed["Labels"] = json!({ "cf": "changed" });
    let current = version(&service)?;
    lab.hide(&format!("version={current}"), "version=<current>");
    lab.post(&format!("/services/{id}/update?version={current}")).json(&changed).expect(200)?;
    lab.delete("/services/cf-service").expect(200)?;
    lab.get("/services/cf-service").expect(404).map(drop)
}

fn service_with_a_secret_and_a_config(lab: &mut Lab) -> Result<()> {
    lab.world.join_swarm()?;
    let mut ids = Vec::new();
    for family in ["secrets", "configs"] {
        let spec = json!({ "Name": format!("cf-{family}-used"), "Data": "d2hpc3BlcmVk" });
        let made = lab.quiet("POST", &format!("/{family}/create"), Some(&spec), 201)?.json()?;
        let id = made["ID"].as_str().context("no id")?.to_owned();
        lab.later("DELETE", format!("/{family}/{id}"));
        ids.push(id);
    }
    let file = |name: &str| json!({ "Name": name, "UID": "0", "GID": "0", "Mode": 0o440 });
    let spec = json!({
        "Name": "cf-trusted",
        "TaskTemplate": {
            "ContainerSpec": {
                "Image": lab.image(), "Command": ["sh", "-c", "cat /run/secrets/s /c; echo; stat -c %a /run/secrets/s"],
                "Secrets": [{ "SecretID": ids[0], "SecretName": "cf-secrets-used", "File": file("s") }],
                "Configs": [{ "ConfigID": ids[1], "ConfigName": "cf-configs-used", "File": file("/c") }],
                "Mounts": [{ "Type": "tmpfs", "Target": "/t" }],
            },
            "RestartPolicy": { "Condition": "none" },
        },
    });
    lab.later("DELETE", "/services/cf-trusted");
    lab.post("/services/create").json(&spec).show(Show::Shape).expect(201)?;
    task_in(lab, "cf-trusted", "complete")?;
    let logs = lab.get("/services/cf-trusted/logs?stdout=1").expect(200)?;
    ensure!(logs.text().contains("whisperedwhispered\n"), "{:?}", logs.text());
    // What is in use stays.
    lab.delete(&format!("/secrets/{}", ids[0])).expect(400)?;
    lab.delete("/services/cf-trusted").expect(200).map(drop)
}

fn service_errors(lab: &mut Lab) -> Result<()> {
    lab.world.join_swarm()?;
    lab.get("/services/cf-none").expect(404)?;
    lab.get("/services/cf-none/logs?stdout=1").expect(404)?;
    lab.get("/tasks/cf-none").expect(404)?;
    lab.get("/tasks/cf-none/logs?stdout=1").expect(404)?;
    lab.delete("/services/cf-none").expect(404)?;
    lab.get(&format!("/services?{}", filters(&json!({ "colour": ["red"] })))).expect(400)?;
    lab.get(&format!("/tasks?{}", filters(&json!({ "desired-state": ["odd"] })))).show(Show::Head).expect(500).map(drop)
}

fn overlay_network(lab: &mut Lab) -> Result<()> {
    lab.world.join_swarm()?;
    let config = json!({
        "Name": "cf-overlay", "Driver": "overlay", "Attachable": true, "IPAM": { "Config": [{ "Subnet": "10.123.20.0/24" }] },
    });
    lab.later("DELETE", "/networks/cf-overlay");
    lab.post("/networks/create").json(&config).expect(201)?;
    // The manager fills in what it has allocated a moment later.
    for _ in 0..600 {
        let seen = lab.quiet("GET", "/networks/cf-overlay?scope=swarm", None, 200)?.json()?;
        if seen["IPAM"]["Config"].is_array() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    lab.get("/networks/cf-overlay?scope=swarm").expect(200)?;
    lab.delete("/networks/cf-overlay").expect(204).map(drop)
}

fn join_tokens_and_rotation(lab: &mut Lab) -> Result<()> {
    lab.world.join_swarm()?;
    let swarm = lab.get("/swarm").show(Show::Shape).expect(200)?.json()?;
    let current = version(&swarm)?;
    lab.hide(&format!("version={current}"), "version=<current>");
    let path = format!("/swarm/update?version={current}&rotateWorkerToken=1");
    lab.post(&path).json(&swarm["Spec"]).expect(200)?;
    let after = lab.quiet("GET", "/swarm", None, 200)?.json()?;
    ensure!(after["JoinTokens"]["Worker"] != swarm["JoinTokens"]["Worker"], "the worker's token is the old one");
    ensure!(after["JoinTokens"]["Manager"] == swarm["JoinTokens"]["Manager"], "the manager's token has changed");
    lab.get("/swarm/unlockkey").expect(200).map(drop)
}
