//! A container's life: made, listed, started, stopped, renamed, removed.

use anyhow::Result;
use serde_json::json;

use crate::ask::Show;
use crate::case::cases;
use crate::lab::{Lab, filters};

cases! { "containers":
    create_start_wait_inspect_remove, list_filters, name_taken,
}

fn create_start_wait_inspect_remove(lab: &mut Lab) -> Result<()> {
    let config =
        json!({ "Image": lab.image(), "Cmd": ["sh", "-c", "exit 3"], "Hostname": "life", "Labels": { "cf": "life" } });
    lab.later("DELETE", "/containers/cf-life?force=1");
    lab.post("/containers/create?name=cf-life").json(&config).expect(201)?;
    lab.get("/containers/cf-life/json").expect(200)?;
    lab.post("/containers/cf-life/start").expect(204)?;
    lab.post("/containers/cf-life/wait").expect(200)?;
    lab.post("/containers/cf-life/start").expect(204)?;
    lab.post("/containers/cf-life/wait?condition=not-running").expect(200)?;
    lab.get("/containers/cf-life/json?size=1").expect(200)?;
    lab.delete("/containers/cf-life").expect(204)?;
    lab.get("/containers/cf-life/json").expect(404).map(drop)
}

fn list_filters(lab: &mut Lab) -> Result<()> {
    let image = lab.image();
    for name in ["cf-list-1", "cf-list-2"] {
        lab.create(name, &json!({ "Image": image, "Cmd": ["true"], "Labels": { "cf-list": name } }))?;
    }
    for wanted in
        [json!({ "label": ["cf-list"] }), json!({ "label": ["cf-list=cf-list-2"] }), json!({ "name": ["cf-list-1"] })]
    {
        lab.get(&format!("/containers/json?all=1&{}", filters(&wanted))).expect(200)?;
        lab.get(&format!("/containers/json?{}", filters(&wanted))).expect(200)?;
    }
    let both = filters(&json!({ "label": { "cf-list": true }, "status": { "created": true } }));
    lab.get(&format!("/v1.24/containers/json?all=1&size=1&{both}")).expect(200)?;
    lab.get(&format!("/containers/json?limit=1&{both}")).show(Show::Exact).expect(200).map(drop)
}

fn name_taken(lab: &mut Lab) -> Result<()> {
    let config = json!({ "Image": lab.image(), "Cmd": ["true"] });
    lab.create("cf-taken", &config)?;
    lab.post("/containers/create?name=cf-taken").json(&config).expect(409).map(drop)
}
