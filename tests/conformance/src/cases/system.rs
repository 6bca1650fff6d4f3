//! The engine as a whole: info, version, disk usage, authentication, distribution, plugins, build cache. Nothing here reaches a
//! registry: there is no network, and the errors say so.

use anyhow::{Result, ensure};
use serde_json::json;

use crate::ask::Show;
use crate::case::cases;
use crate::lab::{Lab, filters};

cases! { "system":
    info, info_oldest_version, version_has_the_components, disk_usage, disk_usage_of_one_type, disk_usage_oldest_version,
    auth_without_credentials, auth_against_nothing, plugins_none, plugins_filtered, plugin_pull_against_nothing,
    plugin_privileges_against_nothing, build_cache_prune, build_cancel_of_nothing, session_without_upgrade, grpc_without_upgrade,
}

fn info(lab: &mut Lab) -> Result<()> {
    let info = lab.get("/info").expect(200)?.json()?;
    ensure!(info["OSType"] == "linux" && info["Driver"] == "overlay2", "{info}");
    Ok(())
}

fn info_oldest_version(lab: &mut Lab) -> Result<()> {
    lab.get("/v1.24/info").expect(200).map(drop)
}

fn version_has_the_components(lab: &mut Lab) -> Result<()> {
    let version = lab.get("/version").expect(200)?.json()?;
    ensure!(version["ApiVersion"] == "1.45" && version["MinAPIVersion"] == "1.24", "{version}");
    Ok(())
}

fn disk_usage(lab: &mut Lab) -> Result<()> {
    lab.idler()?;
    lab.quiet("POST", "/volumes/create", Some(&json!({ "Name": "cf-used" })), 201)?;
    lab.later("DELETE", "/volumes/cf-used");
    let usage = lab.get("/system/df").show(Show::Head).expect(200)?.json()?;
    for list in ["Images", "Containers", "Volumes", "BuildCache"] {
        ensure!(usage.get(list).is_some(), "no {list} in {usage}");
    }
    Ok(())
}

fn disk_usage_of_one_type(lab: &mut Lab) -> Result<()> {
    lab.quiet("POST", "/volumes/create", Some(&json!({ "Name": "cf-typed" })), 201)?;
    lab.later("DELETE", "/volumes/cf-typed");
    lab.get("/system/df?type=volume").show(Show::Shape).expect(200).map(drop)
}

fn disk_usage_oldest_version(lab: &mut Lab) -> Result<()> {
    lab.idler()?;
    lab.get("/v1.25/system/df").show(Show::Head).expect(200).map(drop)
}

fn auth_without_credentials(lab: &mut Lab) -> Result<()> {
    lab.post("/auth").text("{").expect(500).map(drop)
}

fn auth_against_nothing(lab: &mut Lab) -> Result<()> {
    let body = json!({ "username": "u", "password": "p", "serveraddress": "http://127.0.0.1:9" });
    lab.post("/auth").json(&body).expect(500).map(drop)
}

fn plugins_none(lab: &mut Lab) -> Result<()> {
    lab.get("/plugins").expect(200).map(drop)
}

fn plugins_filtered(lab: &mut Lab) -> Result<()> {
    lab.get(&format!("/plugins?{}", filters(&json!({ "capability": ["volumedriver"] })))).expect(200)?;
    lab.get(&format!("/plugins?{}", filters(&json!({ "enabled": ["perhaps"] })))).expect(400).map(drop)
}

fn plugin_pull_against_nothing(lab: &mut Lab) -> Result<()> {
    lab.post("/plugins/pull?remote=127.0.0.1:9/cf/plugin:1").json(&json!([])).expect(500).map(drop)
}

fn plugin_privileges_against_nothing(lab: &mut Lab) -> Result<()> {
    lab.get("/plugins/privileges?remote=127.0.0.1:9/cf/plugin:1").expect(200).map(drop)
}

fn build_cache_prune(lab: &mut Lab) -> Result<()> {
    lab.quiet("POST", "/build/prune?all=1", None, 200)?;
    lab.post("/build/prune?all=1").show(Show::Shape).expect(200).map(drop)
}

fn build_cancel_of_nothing(lab: &mut Lab) -> Result<()> {
    lab.post("/build/cancel").expect(400)?;
    lab.post("/build/cancel?id=cf-none").expect(200).map(drop)
}

fn session_without_upgrade(lab: &mut Lab) -> Result<()> {
    lab.post("/session").expect(400).map(drop)
}

fn grpc_without_upgrade(lab: &mut Lab) -> Result<()> {
    lab.post("/grpc").expect(500).map(drop)
}
