//! Volumes: made with options, listed, in use, removed, pruned.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::ask::Show;
use crate::case::cases;
use crate::lab::{Lab, filters};

cases! { "volumes":
    create_inspect_remove, create_without_a_name, create_again_is_the_same, create_with_options, list_and_filters, remove_while_in_use,
    remove_with_force, prune_named_and_all, update_needs_a_cluster_volume, anonymous_ones_go_with_their_container,
}

fn make(lab: &mut Lab, config: &Value) -> Result<()> {
    let name = config["Name"].as_str().unwrap_or_default().to_owned();
    lab.later("DELETE", format!("/volumes/{name}?force=1"));
    lab.quiet("POST", "/volumes/create", Some(config), 201).map(drop)
}

fn create_inspect_remove(lab: &mut Lab) -> Result<()> {
    lab.later("DELETE", "/volumes/cf-volume");
    lab.post("/volumes/create").json(&json!({ "Name": "cf-volume", "Labels": { "cf": "v" } })).expect(201)?;
    lab.get("/volumes/cf-volume").expect(200)?;
    lab.get("/v1.24/volumes/cf-volume").expect(200)?;
    lab.delete("/volumes/cf-volume").expect(204)?;
    lab.get("/volumes/cf-volume").expect(404).map(drop)
}

fn create_without_a_name(lab: &mut Lab) -> Result<()> {
    let reply = lab.post("/volumes/create").expect(201)?.json()?;
    let name = reply["Name"].as_str().unwrap_or_default().to_owned();
    lab.later("DELETE", format!("/volumes/{name}"));
    ensure!(name.len() == 64, "{reply}");
    Ok(())
}

fn create_again_is_the_same(lab: &mut Lab) -> Result<()> {
    make(lab, &json!({ "Name": "cf-again", "Labels": { "first": "1" } }))?;
    lab.post("/volumes/create").json(&json!({ "Name": "cf-again", "Labels": { "second": "1" } })).expect(201).map(drop)
}

fn create_with_options(lab: &mut Lab) -> Result<()> {
    let options = json!({ "type": "tmpfs", "device": "tmpfs", "o": "size=1m,uid=7" });
    lab.later("DELETE", "/volumes/cf-options");
    lab.post("/volumes/create")
        .json(&json!({ "Name": "cf-options", "Driver": "local", "DriverOpts": options }))
        .expect(201)?;
    lab.get("/volumes/cf-options").expect(200)?;
    let half = json!({ "Name": "cf-half", "DriverOpts": { "type": "tmpfs" } });
    lab.post("/volumes/create").json(&half).expect(400).map(drop)
}

fn list_and_filters(lab: &mut Lab) -> Result<()> {
    make(lab, &json!({ "Name": "cf-listed-1", "Labels": { "cf-listed": "1" } }))?;
    make(lab, &json!({ "Name": "cf-listed-2", "Labels": { "cf-listed": "2" } }))?;
    for wanted in [
        json!({ "name": ["cf-listed-1"] }),
        json!({ "label": ["cf-listed"] }),
        json!({ "label": ["cf-listed=2"] }),
        json!({ "name": ["cf-listed"], "dangling": ["true"], "driver": ["local"] }),
        json!({ "name": ["cf-listed"], "dangling": ["false"] }),
    ] {
        lab.get(&format!("/volumes?{}", filters(&wanted))).show(Show::Sorted).expect(200)?;
    }
    Ok(())
}

fn remove_while_in_use(lab: &mut Lab) -> Result<()> {
    make(lab, &json!({ "Name": "cf-busy" }))?;
    let config = json!({ "Image": lab.image(), "Cmd": ["true"], "HostConfig": { "Binds": ["cf-busy:/data:ro"] } });
    lab.create("cf-holder", &config)?;
    lab.delete("/volumes/cf-busy").expect(409)?;
    lab.delete("/volumes/cf-busy?force=1").expect(409).map(drop)
}

fn remove_with_force(lab: &mut Lab) -> Result<()> {
    lab.delete("/volumes/cf-none?force=1").expect(204).map(drop)
}

fn prune_named_and_all(lab: &mut Lab) -> Result<()> {
    make(lab, &json!({ "Name": "cf-prune", "Labels": { "cf-prune": "1" } }))?;
    // Only volumes without a name, unless all are asked for.
    lab.post(&format!("/volumes/prune?{}", filters(&json!({ "label": ["cf-prune"] })))).expect(200)?;
    lab.get("/volumes/cf-prune").expect(200)?;
    lab.post(&format!("/volumes/prune?{}", filters(&json!({ "label": ["cf-prune"], "all": ["true"] })))).expect(200)?;
    lab.get("/volumes/cf-prune").expect(404).map(drop)
}

fn update_needs_a_cluster_volume(lab: &mut Lab) -> Result<()> {
    lab.ask("PUT", "/volumes/cf-none?version=1").json(&json!({ "Spec": {} })).expect(503).map(drop)
}

fn anonymous_ones_go_with_their_container(lab: &mut Lab) -> Result<()> {
    let config = json!({ "Image": lab.image(), "Cmd": ["true"], "Volumes": { "/data": {} } });
    let id = lab.create("cf-anonymous", &config)?;
    let container = lab.quiet("GET", &format!("/containers/{id}/json"), None, 200)?.json()?;
    let name = container["Mounts"][0]["Name"].as_str().unwrap_or_default().to_owned();
    lab.get(&format!("/volumes/{name}")).expect(200)?;
    lab.delete(&format!("/containers/{id}?v=1")).expect(204)?;
    lab.get(&format!("/volumes/{name}")).expect(404).map(drop)
}
