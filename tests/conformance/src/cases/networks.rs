//! Networks: made with every option, connected, disconnected, listed, removed. Subnets are the suite's own.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::ask::Show;
use crate::case::cases;
use crate::lab::{Lab, filters};

cases! { "networks":
    create_inspect_remove, create_with_every_option, create_twice, list_and_filters, connect_and_disconnect, connect_with_an_address,
    connect_twice, remove_while_in_use, prune, container_with_endpoint_settings, predefined_ones, internal_without_a_gateway,
    address_out_of_the_subnet, overlapping_subnets,
}

/// Makes a network that goes away with the case; not recorded.
fn make(lab: &mut Lab, name: &str, extra: &Value) -> Result<()> {
    let mut config = json!({ "Name": name });
    if let (Some(config), Some(extra)) = (config.as_object_mut(), extra.as_object()) {
        config.extend(extra.clone());
    }
    lab.later("DELETE", format!("/networks/{name}"));
    lab.quiet("POST", "/networks/create", Some(&config), 201).map(drop)
}

fn subnet(number: u8) -> Value {
    json!({ "IPAM": { "Config": [{ "Subnet": format!("10.123.{number}.0/24") }] } })
}

fn create_inspect_remove(lab: &mut Lab) -> Result<()> {
    lab.later("DELETE", "/networks/cf-net");
    lab.post("/networks/create").json(&json!({ "Name": "cf-net", "Labels": { "cf": "net" } })).expect(201)?;
    lab.get("/networks/cf-net").expect(200)?;
    lab.get("/networks/cf-net?verbose=1").expect(200)?;
    lab.get("/networks/cf-net?scope=swarm").expect(404)?;
    lab.delete("/networks/cf-net").expect(204)?;
    lab.get("/networks/cf-net").expect(404).map(drop)
}

fn create_with_every_option(lab: &mut Lab) -> Result<()> {
    let config = json!({
        "Name": "cf-options", "CheckDuplicate": true, "Driver": "bridge", "Internal": true, "Attachable": true, "EnableIPv6": false,
        "IPAM": { "Driver": "default", "Options": { "odd": "even" }, "Config": [{
            "Subnet": "10.123.1.0/24", "IPRange": "10.123.1.128/25", "Gateway": "10.123.1.1",
            "AuxiliaryAddresses": { "printer": "10.123.1.9" },
        }] },
        "Options": { "com.docker.network.bridge.enable_icc": "false", "com.docker.network.driver.mtu": "1400" },
        "Labels": { "cf": "options" },
    });
    lab.later("DELETE", "/networks/cf-options");
    lab.post("/networks/create").json(&config).expect(201)?;
    let network = lab.get("/networks/cf-options").expect(200)?.json()?;
    ensure!(network["IPAM"]["Config"][0]["Gateway"] == "10.123.1.1" && network["Internal"] == true, "{network}");
    Ok(())
}

fn create_twice(lab: &mut Lab) -> Result<()> {
    make(lab, "cf-twice", &subnet(2))?;
    lab.post("/networks/create").json(&json!({ "Name": "cf-twice" })).expect(409).map(drop)
}

fn list_and_filters(lab: &mut Lab) -> Result<()> {
    make(lab, "cf-listed-1", &json!({ "Labels": { "cf-listed": "1" }, "Internal": true }))?;
    make(lab, "cf-listed-2", &json!({ "Labels": { "cf-listed": "2" } }))?;
    for wanted in [
        json!({ "name": ["cf-listed-1"] }),
        json!({ "label": ["cf-listed"] }),
        json!({ "label": ["cf-listed=2"] }),
        json!({ "name": ["cf-listed"], "driver": ["bridge"], "scope": ["local"] }),
        json!({ "name": ["cf-listed"], "type": ["builtin"] }),
        json!({ "name": ["cf-listed"], "dangling": ["true"] }),
    ] {
        lab.get(&format!("/networks?{}", filters(&wanted))).show(Show::Sorted).expect(200)?;
    }
    Ok(())
}

fn connect_and_disconnect(lab: &mut Lab) -> Result<()> {
    make(lab, "cf-plug", &subnet(3))?;
    lab.create("cf-plugged", &json!({ "Image": lab.image(), "Cmd": ["true"] }))?;
    lab.post("/networks/cf-plug/connect").json(&json!({ "Container": "cf-plugged" })).expect(200)?;
    let container = lab.get("/containers/cf-plugged/json").show(Show::Head).expect(200)?.json()?;
    let settings = &container["NetworkSettings"]["Networks"]["cf-plug"];
    ensure!(settings.is_object(), "not connected: {}", container["NetworkSettings"]);
    lab.note(&format!("< {settings}"));
    lab.post("/networks/cf-plug/disconnect").json(&json!({ "Container": "cf-plugged", "Force": true })).expect(200)?;
    let again = lab.post("/networks/cf-plug/disconnect").json(&json!({ "Container": "cf-plugged" })).expect(500)?;
    ensure!(again.text().contains("not connected"), "{}", again.text());
    Ok(())
}

fn connect_with_an_address(lab: &mut Lab) -> Result<()> {
    make(lab, "cf-fixed", &subnet(4))?;
    let idler = lab.idler()?;
    let endpoint = json!({ "IPAMConfig": { "IPv4Address": "10.123.4.44" }, "Aliases": ["cf-alias"], "MacAddress": "02:42:0a:7b:04:44" });
    let body = json!({ "Container": idler, "EndpointConfig": endpoint });
    lab.post("/networks/cf-fixed/connect").json(&body).expect(200)?;
    let network = lab.get("/networks/cf-fixed").expect(200)?.json()?;
    let members = network["Containers"].as_object().context("no members")?;
    let address = members.values().next().and_then(|member| member["IPv4Address"].as_str());
    lab.post("/networks/cf-fixed/disconnect").json(&json!({ "Container": idler })).expect(200)?;
    ensure!(address == Some("10.123.4.44/24"), "{network}");
    Ok(())
}

fn connect_twice(lab: &mut Lab) -> Result<()> {
    make(lab, "cf-double", &subnet(5))?;
    let idler = lab.idler()?;
    lab.post("/networks/cf-double/connect").json(&json!({ "Container": idler })).expect(200)?;
    let again = lab.post("/networks/cf-double/connect").json(&json!({ "Container": idler })).expect(403);
    lab.post("/networks/cf-double/disconnect").json(&json!({ "Container": idler })).expect(200)?;
    again.map(drop)
}

fn remove_while_in_use(lab: &mut Lab) -> Result<()> {
    make(lab, "cf-busy", &subnet(6))?;
    let idler = lab.idler()?;
    lab.post("/networks/cf-busy/connect").json(&json!({ "Container": idler })).expect(200)?;
    let refused = lab.delete("/networks/cf-busy").expect(403);
    lab.post("/networks/cf-busy/disconnect").json(&json!({ "Container": idler })).expect(200)?;
    refused.map(drop)
}

fn prune(lab: &mut Lab) -> Result<()> {
    make(lab, "cf-prune", &json!({ "Labels": { "cf-prune": "1" } }))?;
    lab.post(&format!("/networks/prune?{}", filters(&json!({ "label": ["cf-prune"] })))).expect(200)?;
    lab.post(&format!("/networks/prune?{}", filters(&json!({ "label": ["cf-prune"] })))).expect(200)?;
    lab.post(&format!("/networks/prune?{}", filters(&json!({ "until": ["never"] })))).expect(400).map(drop)
}

fn container_with_endpoint_settings(lab: &mut Lab) -> Result<()> {
    make(lab, "cf-home", &subnet(7))?;
    let config = json!({
        "Image": lab.image(), "Cmd": ["true"], "Hostname": "housed", "HostConfig": { "NetworkMode": "cf-home" },
        "NetworkingConfig": { "EndpointsConfig": { "cf-home": {
            "IPAMConfig": { "IPv4Address": "10.123.7.70" }, "Aliases": ["one", "two"], "DriverOpts": { "k": "v" },
        } } },
    });
    lab.create("cf-housed", &config)?;
    let container = lab.get("/containers/cf-housed/json").show(Show::Head).expect(200)?.json()?;
    lab.note(&format!("< {}", container["NetworkSettings"]));
    ensure!(
        container["NetworkSettings"]["Networks"]["cf-home"]["IPAMConfig"]["IPv4Address"] == "10.123.7.70",
        "{container}"
    );
    Ok(())
}

fn predefined_ones(lab: &mut Lab) -> Result<()> {
    lab.get(&format!("/networks?{}", filters(&json!({ "type": ["builtin"] })))).show(Show::Head).expect(200)?;
    // In "none" may be the suite itself.
    lab.get("/networks/none").show(Show::Head).expect(200)?;
    lab.get("/v1.24/networks/host").show(Show::Shape).expect(200).map(drop)
}

fn internal_without_a_gateway(lab: &mut Lab) -> Result<()> {
    make(lab, "cf-inner", &json!({ "Internal": true, "IPAM": { "Config": [{ "Subnet": "10.123.8.0/24" }] } }))?;
    lab.get("/networks/cf-inner").expect(200).map(drop)
}

fn address_out_of_the_subnet(lab: &mut Lab) -> Result<()> {
    make(lab, "cf-small", &subnet(9))?;
    lab.create("cf-astray", &json!({ "Image": lab.image(), "Cmd": ["true"] }))?;
    let body =
        json!({ "Container": "cf-astray", "EndpointConfig": { "IPAMConfig": { "IPv4Address": "10.123.99.1" } } });
    lab.post("/networks/cf-small/connect").json(&body).expect(400).map(drop)
}

fn overlapping_subnets(lab: &mut Lab) -> Result<()> {
    make(lab, "cf-over-1", &subnet(10))?;
    let config = json!({ "Name": "cf-over-2", "IPAM": { "Config": [{ "Subnet": "10.123.10.128/25" }] } });
    lab.post("/networks/create").json(&config).expect(403).map(drop)
}
