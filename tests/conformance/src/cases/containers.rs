//! A container's life: made, listed, started, stopped, killed, paused, updated, renamed, waited for, removed.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::ask::Show;
use crate::case::cases;
use crate::lab::{Lab, filters};
use crate::reply::Reply;

cases! { "containers":
    create_start_wait_inspect_remove, list_filters, list_bad_references, name_taken, rename, rename_taken, update, update_running, update_refused,
    kill_with_signals, stop_with_timeout_and_signal, stop_and_start_what_is_so_already, restart, remove_running_needs_force,
    remove_with_volumes, remove_link_that_is_not_there, wait_for_each_condition, wait_for_the_removal, wait_bad_condition,
    wait_before_the_start, prune, resize_errors, auto_remove, killed_without_a_signal, start_with_a_body, start_what_cannot_run, inspect_by_prefix,
    inspect_with_size,
}

/// A container that does nothing, recorded nowhere.
fn idle(lab: &mut Lab, name: &str, labels: &Value) -> Result<String> {
    lab.create(name, &json!({ "Image": lab.image(), "Cmd": ["true"], "Labels": labels }))
}

/// A running container that ends at a signal, and says which.
fn trapping(lab: &mut Lab, name: &str) -> Result<String> {
    let script = "trap 'exit 11' TERM; trap 'exit 12' USR1; trap 'exit 13' INT; echo set; while :; do sleep 3600 & wait $!; done";
    let config = json!({ "Image": lab.image(), "Cmd": ["sh", "-c", script], "HostConfig": { "NetworkMode": "none" } });
    let id = lab.run_with(name, &config)?;
    // Before its traps are set it is the first process of its own world, which a signal does not reach.
    let mut wire = lab.connect()?;
    let logs = crate::ask::versioned(&format!("/containers/{id}/logs?follow=1&stdout=1"));
    wire.send(format!("GET {logs} HTTP/1.1\r\nHost: docker\r\n\r\n").as_bytes())?;
    wire.until(b"set\n")?;
    Ok(id)
}

fn create_start_wait_inspect_remove(lab: &mut Lab) -> Result<()> {
    let config =
        json!({ "Image": lab.image(), "Cmd": ["sh", "-c", "exit 3"], "Hostname": "life", "Labels": { "cf": "life" } });
    lab.later("DELETE", "/containers/cf-life?force=1");
    lab.post("/containers/create?name=cf-life").json(&config).expect(201)?;
    lab.get("/containers/cf-life/json").expect(200)?;
    lab.post("/containers/cf-life/start").expect(204)?;
    lab.post("/containers/cf-life/wait").expect(200)?;
    let code = lab.get("/containers/cf-life/json").expect(200)?.json()?["State"]["ExitCode"].clone();
    ensure!(code == 3, "exit code {code}");
    lab.post("/containers/cf-life/wait?condition=not-running").expect(200)?;
    lab.delete("/containers/cf-life").expect(204)?;
    lab.get("/containers/cf-life/json").expect(404).map(drop)
}

fn list_filters(lab: &mut Lab) -> Result<()> {
    for name in ["cf-list-1", "cf-list-2"] {
        idle(lab, name, &json!({ "cf-list": name }))?;
    }
    for wanted in
        [json!({ "label": ["cf-list"] }), json!({ "label": ["cf-list=cf-list-2"] }), json!({ "name": ["cf-list-1"] })]
    {
        lab.get(&format!("/containers/json?all=1&{}", filters(&wanted))).expect(200)?;
        lab.get(&format!("/containers/json?{}", filters(&wanted))).expect(200)?;
    }
    let old = filters(&json!({ "label": { "cf-list": true }, "status": { "created": true } }));
    lab.get(&format!("/v1.24/containers/json?all=1&size=1&{old}")).expect(200)?;
    lab.get(&format!("/containers/json?limit=1&{old}")).expect(200)?;
    let ancestor = filters(&json!({ "ancestor": ["cf/none"], "exited": ["7"] }));
    lab.get(&format!("/containers/json?all=1&{ancestor}")).expect(200).map(drop)
}

fn list_bad_references(lab: &mut Lab) -> Result<()> {
    for wanted in [json!({ "before": ["cf-none"] }), json!({ "since": ["cf-none"] })] {
        lab.get(&format!("/containers/json?all=1&{}", filters(&wanted))).expect(404)?;
    }
    for wanted in [
        json!({ "status": ["odd"] }),
        json!({ "health": ["odd"] }),
        json!({ "exited": ["odd"] }),
        json!({ "is-task": ["odd"] }),
    ] {
        lab.get(&format!("/containers/json?all=1&{}", filters(&wanted))).show(Show::Exact).expect(400)?;
    }
    Ok(())
}

fn name_taken(lab: &mut Lab) -> Result<()> {
    idle(lab, "cf-taken", &json!({}))?;
    let config = json!({ "Image": lab.image(), "Cmd": ["true"] });
    lab.post("/containers/create?name=cf-taken").json(&config).expect(409).map(drop)
}

fn rename(lab: &mut Lab) -> Result<()> {
    let id = idle(lab, "cf-before", &json!({}))?;
    lab.post("/containers/cf-before/rename?name=cf-after").expect(204)?;
    lab.get("/containers/cf-before/json").expect(404)?;
    let seen = lab.get(&format!("/containers/{id}/json")).show(Show::Head).expect(200)?.json()?;
    ensure!(seen["Name"] == "/cf-after", "{}", seen["Name"]);
    lab.post("/containers/cf-after/rename?name=").expect(400)?;
    lab.post("/containers/cf-after/rename?name=b@d!").expect(400)?;
    lab.post("/containers/cf-after/rename?name=cf-after").expect(400).map(drop)
}

fn rename_taken(lab: &mut Lab) -> Result<()> {
    idle(lab, "cf-one", &json!({}))?;
    idle(lab, "cf-two", &json!({}))?;
    lab.post("/containers/cf-one/rename?name=cf-two").expect(409).map(drop)
}

fn update(lab: &mut Lab) -> Result<()> {
    idle(lab, "cf-updated", &json!({}))?;
    let settings = json!({
        "Memory": 67_108_864, "MemorySwap": -1, "CpuShares": 256, "PidsLimit": 40, "RestartPolicy": { "Name": "unless-stopped" },
    });
    lab.post("/containers/cf-updated/update").json(&settings).expect(200)?;
    let seen = lab.get("/containers/cf-updated/json").show(Show::Head).expect(200)?.json()?;
    lab.note(&format!("< {}", seen["HostConfig"]));
    ensure!(seen["HostConfig"]["Memory"] == 67_108_864, "{}", seen["HostConfig"]);
    Ok(())
}

fn update_running(lab: &mut Lab) -> Result<()> {
    let id = trapping(lab, "cf-live")?;
    lab.post(&format!("/containers/{id}/update")).json(&json!({ "CpuShares": 128, "PidsLimit": 77 })).expect(200)?;
    let config = json!({ "Cmd": ["cat", "/sys/fs/cgroup/pids.max"], "AttachStdout": true, "Tty": true });
    let exec = lab.quiet("POST", &format!("/containers/{id}/exec"), Some(&config), 201)?.json()?;
    let exec = exec["Id"].as_str().unwrap_or_default().to_owned();
    let (_, mut wire) = lab.post(&format!("/exec/{exec}/start")).json(&json!({ "Tty": true })).open(200)?;
    let seen = wire.rest()?;
    lab.note_bytes("pids.max", &seen);
    ensure!(seen == b"77\r\n", "{:?}", seen.escape_ascii());
    Ok(())
}

fn update_refused(lab: &mut Lab) -> Result<()> {
    idle(lab, "cf-stubborn", &json!({}))?;
    lab.post("/containers/cf-stubborn/update").json(&json!({ "Memory": 1 })).expect(400)?;
    lab.post("/containers/cf-stubborn/update")
        .json(&json!({ "RestartPolicy": { "Name": "odd" } }))
        .show(Show::Exact)
        .expect(400)?;
    lab.post("/containers/cf-stubborn/update").text("{").expect(400).map(drop)
}

fn kill_with_signals(lab: &mut Lab) -> Result<()> {
    let id = trapping(lab, "cf-killed")?;
    lab.post("/containers/cf-killed/kill?signal=SIGODD").expect(400)?;
    lab.post("/containers/cf-killed/kill?signal=999").expect(400)?;
    lab.post("/containers/cf-killed/kill?signal=WINCH").expect(204)?;
    lab.post("/containers/cf-killed/kill?signal=SIGUSR1").expect(204)?;
    ensure!(lab.wait(&id)? == 12, "another signal arrived");
    lab.post("/containers/cf-killed/kill").expect(409).map(drop)
}

fn stop_with_timeout_and_signal(lab: &mut Lab) -> Result<()> {
    let id = trapping(lab, "cf-stopped")?;
    lab.post("/containers/cf-stopped/stop?t=odd").show(Show::Exact).expect(500)?;
    lab.post("/containers/cf-stopped/stop?t=30&signal=SIGINT").expect(204)?;
    ensure!(lab.wait(&id)? == 13, "another signal arrived");
    lab.post("/containers/cf-stopped/stop").expect(304).map(drop)
}

fn stop_and_start_what_is_so_already(lab: &mut Lab) -> Result<()> {
    let idler = lab.idler()?;
    lab.post(&format!("/containers/{idler}/start")).expect(304)?;
    lab.post(&format!("/v1.24/containers/{idler}/start")).expect(304)?;
    idle(lab, "cf-never", &json!({}))?;
    lab.post("/containers/cf-never/stop").expect(304)?;
    lab.post("/containers/cf-never/kill").expect(409)?;
    lab.post("/containers/cf-never/pause").expect(409)?;
    lab.post("/containers/cf-never/unpause").show(Show::Exact).expect(500).map(drop)
}

fn restart(lab: &mut Lab) -> Result<()> {
    let id = trapping(lab, "cf-again")?;
    let started = |lab: &mut Lab| -> Result<Value> {
        Ok(lab.quiet("GET", &format!("/containers/{id}/json"), None, 200)?.json()?["State"]["StartedAt"].clone())
    };
    let before = started(lab)?;
    lab.post("/containers/cf-again/restart?t=30").expect(204)?;
    ensure!(started(lab)? != before, "it was not started again");
    lab.post("/containers/cf-again/restart?t=odd").show(Show::Exact).expect(500).map(drop)
}

fn remove_running_needs_force(lab: &mut Lab) -> Result<()> {
    let idler = lab.idler()?;
    lab.delete(&format!("/containers/{idler}")).expect(409)?;
    lab.delete(&format!("/v1.24/containers/{idler}")).expect(409)?;
    let id = trapping(lab, "cf-forced")?;
    lab.delete("/containers/cf-forced?force=1").expect(204)?;
    lab.delete(&format!("/containers/{id}?force=1")).expect(404).map(drop)
}

fn remove_with_volumes(lab: &mut Lab) -> Result<()> {
    lab.later("DELETE", "/volumes/cf-stays");
    let config = json!({ "Image": lab.image(), "Cmd": ["true"], "Volumes": { "/goes": {} }, "HostConfig": { "Binds": ["cf-stays:/stays"] } });
    lab.create("cf-voluminous", &config)?;
    lab.delete("/containers/cf-voluminous?v=1").expect(204)?;
    // Only those without a name go with their container.
    lab.get("/volumes/cf-stays").expect(200).map(drop)
}

fn remove_link_that_is_not_there(lab: &mut Lab) -> Result<()> {
    idle(lab, "cf-unlinked", &json!({}))?;
    lab.delete("/containers/cf-unlinked?link=1").show(Show::Exact).expect(500)?;
    lab.delete("/containers/cf-unlinked/alias?link=1").show(Show::Exact).expect(404).map(drop)
}

fn wait_for_each_condition(lab: &mut Lab) -> Result<()> {
    let id = trapping(lab, "cf-waited")?;
    let mut waits = Vec::new();
    for condition in ["", "?condition=not-running", "?condition=next-exit"] {
        // The head comes at once: the wait has begun.
        waits.push(lab.post(&format!("/containers/{id}/wait{condition}")).open(200)?);
    }
    lab.post(&format!("/containers/{id}/kill?signal=TERM")).expect(204)?;
    for (head, mut wire) in waits {
        let mut body = Vec::new();
        while let Some(chunk) = wire.chunk()? {
            body.extend_from_slice(&chunk);
        }
        let reply = Reply { head, body };
        lab.note_bytes("body", &reply.body);
        ensure!(reply.json()?["StatusCode"] == 11, "{}", reply.text());
    }
    Ok(())
}

fn wait_for_the_removal(lab: &mut Lab) -> Result<()> {
    let id = idle(lab, "cf-removed", &json!({}))?;
    let (_, mut wire) = lab.post(&format!("/containers/{id}/wait?condition=removed")).open(200)?;
    lab.delete(&format!("/containers/{id}")).expect(204)?;
    let chunk = wire.chunk()?.unwrap_or_default();
    lab.note_bytes("body", &chunk);
    ensure!(chunk.starts_with(b"{\"StatusCode\":"), "{:?}", chunk.escape_ascii());
    Ok(())
}

fn wait_bad_condition(lab: &mut Lab) -> Result<()> {
    idle(lab, "cf-unwaited", &json!({}))?;
    lab.post("/containers/cf-unwaited/wait?condition=odd").expect(400)?;
    lab.post("/v1.24/containers/cf-unwaited/wait").expect(200).map(drop)
}

fn wait_before_the_start(lab: &mut Lab) -> Result<()> {
    let id = idle(lab, "cf-early", &json!({}))?;
    let (_, mut wire) = lab.post(&format!("/containers/{id}/wait?condition=next-exit")).open(200)?;
    lab.post(&format!("/containers/{id}/start")).expect(204)?;
    let chunk = wire.chunk()?.unwrap_or_default();
    lab.note_bytes("body", &chunk);
    ensure!(chunk == b"{\"StatusCode\":0}\n", "{:?}", chunk.escape_ascii());
    Ok(())
}

fn prune(lab: &mut Lab) -> Result<()> {
    idle(lab, "cf-pruned", &json!({ "cf-prune": "1" }))?;
    let wanted = filters(&json!({ "label": ["cf-prune"] }));
    let pruned = lab.post(&format!("/containers/prune?{wanted}")).expect(200)?.json()?;
    ensure!(pruned["ContainersDeleted"].as_array().is_some_and(|list| list.len() == 1), "{pruned}");
    lab.post(&format!("/containers/prune?{wanted}")).expect(200).map(drop)
}

fn resize_errors(lab: &mut Lab) -> Result<()> {
    let idler = lab.idler()?;
    lab.post(&format!("/containers/{idler}/resize?h=odd&w=1")).show(Show::Exact).expect(400)?;
    idle(lab, "cf-unsized", &json!({}))?;
    lab.post("/containers/cf-unsized/resize?h=10&w=10").expect(409).map(drop)
}

fn auto_remove(lab: &mut Lab) -> Result<()> {
    let settings = json!({ "AutoRemove": true, "NetworkMode": "none" });
    let id = lab.create("cf-auto", &json!({ "Image": lab.image(), "Cmd": ["true"], "HostConfig": settings }))?;
    let (_, mut wire) = lab.post(&format!("/containers/{id}/wait?condition=removed")).open(200)?;
    lab.post(&format!("/containers/{id}/start")).expect(204)?;
    let chunk = wire.chunk()?.unwrap_or_default();
    lab.note_bytes("body", &chunk);
    lab.get("/containers/cf-auto/json").expect(404).map(drop)
}

fn killed_without_a_signal(lab: &mut Lab) -> Result<()> {
    let id = trapping(lab, "cf-coded")?;
    lab.post("/containers/cf-coded/kill").expect(204)?;
    let code = lab.wait(&id)?;
    ensure!(code == 137, "exit code {code}");
    let state = lab.quiet("GET", &format!("/containers/{id}/json"), None, 200)?.json()?["State"].clone();
    lab.note(&format!("< {state}"));
    let wanted = filters(&json!({ "exited": ["137"], "name": ["cf-coded"] }));
    lab.get(&format!("/containers/json?all=1&{wanted}")).expect(200).map(drop)
}

fn start_with_a_body(lab: &mut Lab) -> Result<()> {
    idle(lab, "cf-bodied", &json!({}))?;
    lab.post("/containers/cf-bodied/start").json(&json!({ "Binds": ["/tmp:/t"] })).expect(400)?;
    lab.post("/containers/cf-bodied/start?detachKeys=odd-keys").expect(204).map(drop)
}

fn start_what_cannot_run(lab: &mut Lab) -> Result<()> {
    let config = json!({ "Image": lab.image(), "Cmd": ["/no/such/program"], "HostConfig": { "NetworkMode": "none" } });
    lab.create("cf-broken", &config)?;
    lab.post("/containers/cf-broken/start").expect(400)?;
    let state = lab.quiet("GET", "/containers/cf-broken/json", None, 200)?.json()?["State"].clone();
    lab.note(&format!("< {state}"));
    ensure!(state["ExitCode"] == 127, "{state}");
    Ok(())
}

fn inspect_by_prefix(lab: &mut Lab) -> Result<()> {
    let id = idle(lab, "cf-prefixed", &json!({}))?;
    lab.get(&format!("/containers/{}/json", &id[..12])).show(Show::Head).expect(200)?;
    lab.get("/containers//json").show(Show::Head).expect(301).map(drop)
}

fn inspect_with_size(lab: &mut Lab) -> Result<()> {
    let id = idle(lab, "cf-weighed", &json!({}))?;
    let seen = lab.get(&format!("/containers/{id}/json?size=1")).show(Show::Head).expect(200)?.json()?;
    lab.note(&format!("< {} {}", seen["SizeRw"], seen["SizeRootFs"]));
    ensure!(seen["SizeRootFs"].as_u64() > Some(100_000), "{}", seen["SizeRootFs"]);
    Ok(())
}
