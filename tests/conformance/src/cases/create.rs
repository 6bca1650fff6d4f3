//! Containers made with limits, namespaces and every other option, as inspect shows them again. Most are never started: what is
//! asked here is how the engine understands a request.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::ask::Show;
use crate::case::cases;
use crate::lab::Lab;

cases! { "create":
    minimal, oldest_version, limits, limits_that_are_refused, logging, namespaces, namespaces_of_a_container,
    devices_and_capabilities, health_check, restart_policies, exposed_and_published_ports, names_and_hosts,
    environment_labels_and_stop, unknown_and_case_variant_fields, binds_given_twice, big_body, platform_that_fits, real_time_is_refused,
    checkpoint_needs_experimental,
}

/// Makes a container with these settings, recorded, and shows what inspect says under `keys` of its answer.
pub fn made(lab: &mut Lab, name: &str, extra: &Value, keys: &[&str]) -> Result<Value> {
    let mut config = json!({ "Image": lab.image(), "Cmd": ["true"], "Hostname": name });
    if let (Some(config), Some(extra)) = (config.as_object_mut(), extra.as_object()) {
        config.extend(extra.clone());
    }
    lab.later("DELETE", format!("/containers/{name}?force=1&v=1"));
    lab.post(&format!("/containers/create?name={name}")).json(&config).expect(201)?;
    let seen = lab.get(&format!("/containers/{name}/json")).show(Show::Head).expect(200)?.json()?;
    for key in keys {
        let mut value = seen.pointer(key).cloned().unwrap_or(Value::Null);
        if let Some(list) = value.as_array_mut() {
            // dockerd keeps mounts in a map, so their order is chance.
            list.sort_by_cached_key(|mount| mount["Destination"].as_str().map(str::to_owned));
        }
        lab.note(&format!("< {key} {value}"));
    }
    Ok(seen)
}

/// Asks for a container that may not be.
pub fn refused(lab: &mut Lab, config: &Value) -> Result<()> {
    lab.later("DELETE", "/containers/cf-refused?force=1&v=1");
    lab.post("/containers/create?name=cf-refused").json(config).expect(400).map(drop)
}

/// Only host settings.
pub fn host(settings: Value) -> Value {
    json!({ "HostConfig": settings })
}

fn minimal(lab: &mut Lab) -> Result<()> {
    let image = lab.image();
    lab.later("DELETE", "/containers/cf-minimal");
    lab.post("/containers/create?name=cf-minimal")
        .json(&json!({ "Image": image, "Cmd": "true", "Hostname": "m" }))
        .expect(201)?;
    lab.get("/containers/cf-minimal/json").expect(200).map(drop)
}

fn oldest_version(lab: &mut Lab) -> Result<()> {
    let config = json!({ "Image": lab.image(), "Cmd": ["true"], "Hostname": "old", "HostConfig": { "Binds": ["/run/lock:/t"] } });
    lab.later("DELETE", "/containers/cf-oldest");
    lab.post("/v1.24/containers/create?name=cf-oldest").json(&config).expect(201)?;
    lab.get("/v1.24/containers/cf-oldest/json").expect(200).map(drop)
}

fn limits(lab: &mut Lab) -> Result<()> {
    let settings = json!({
        "Memory": 67_108_864, "MemoryReservation": 33_554_432, "MemorySwap": 134_217_728, "MemorySwappiness": 10, "NanoCpus": 500_000_000,
        "CpuShares": 512, "CpusetCpus": "0", "PidsLimit": 50, "BlkioWeight": 300, "OomKillDisable": false, "OomScoreAdj": 500,
        "Ulimits": [{ "Name": "nofile", "Soft": 100, "Hard": 200 }], "Sysctls": { "net.ipv4.ip_forward": "0" }, "ShmSize": 1_000_000,
        "StorageOpt": null, "CgroupParent": "/cf", "Init": true,
    });
    made(lab, "cf-limits", &host(settings), &["/HostConfig"]).map(drop)
}

fn limits_that_are_refused(lab: &mut Lab) -> Result<()> {
    let image = lab.image();
    for settings in [
        json!({ "Memory": 1024 }),
        json!({ "Memory": 67_108_864, "MemorySwap": 1_048_576 }),
        json!({ "MemorySwap": 67_108_864 }),
        json!({ "NanoCpus": 500_000_000, "CpuPeriod": 100_000 }),
        json!({ "NanoCpus": -1 }),
        json!({ "CpuPeriod": 5 }),
        json!({ "CpusetCpus": "x-y" }),
        json!({ "OomScoreAdj": 2000 }),
        json!({ "ShmSize": -1 }),
        json!({ "BlkioWeight": 5 }),
    ] {
        let config = json!({ "Image": image, "Cmd": ["true"], "HostConfig": settings });
        refused(lab, &config)?;
    }
    Ok(())
}

fn logging(lab: &mut Lab) -> Result<()> {
    let settings = json!({ "LogConfig": { "Type": "json-file", "Config": { "max-size": "1m", "max-file": "2", "labels": "cf" } } });
    made(lab, "cf-logging", &host(settings), &["/HostConfig/LogConfig"])?;
    // A driver that is not there is no case: dockerd looks for its plugin for fifteen seconds.
    let odd = json!({ "Type": "json-file", "Config": { "odd": "1" } });
    let config = json!({ "Image": lab.image(), "Cmd": ["true"], "HostConfig": { "LogConfig": odd } });
    refused(lab, &config)
}

fn namespaces(lab: &mut Lab) -> Result<()> {
    let settings = json!({
        "NetworkMode": "host", "PidMode": "host", "IpcMode": "shareable", "UTSMode": "host", "CgroupnsMode": "private", "UsernsMode": "host",
    });
    made(lab, "cf-spaces", &json!({ "HostConfig": settings, "Hostname": "" }), &["/HostConfig"])?;
    let image = lab.image();
    for settings in [
        json!({ "PidMode": "odd" }),
        json!({ "IpcMode": "odd" }),
        json!({ "UTSMode": "odd" }),
        json!({ "CgroupnsMode": "odd" }),
    ] {
        let config = json!({ "Image": image, "Cmd": ["true"], "HostConfig": settings });
        refused(lab, &config)?;
    }
    Ok(())
}

fn namespaces_of_a_container(lab: &mut Lab) -> Result<()> {
    let idler = lab.idler()?;
    let of = format!("container:{idler}");
    let settings = json!({ "NetworkMode": of, "PidMode": of });
    made(
        lab,
        "cf-guest",
        &json!({ "HostConfig": settings, "Hostname": "" }),
        &["/HostConfig/NetworkMode", "/HostConfig/PidMode"],
    )?;
    let config =
        json!({ "Image": lab.image(), "Cmd": ["true"], "Hostname": "own", "HostConfig": { "NetworkMode": of } });
    refused(lab, &config)
}

fn devices_and_capabilities(lab: &mut Lab) -> Result<()> {
    let settings = json!({
        "Privileged": false, "CapAdd": ["NET_ADMIN"], "CapDrop": ["ALL"], "SecurityOpt": ["no-new-privileges", "seccomp=unconfined"],
        "Devices": [{ "PathOnHost": "/dev/null", "PathInContainer": "/dev/void", "CgroupPermissions": "r" }],
        "DeviceCgroupRules": ["c 1:3 r"], "ReadonlyRootfs": true, "GroupAdd": ["7"],
    });
    made(lab, "cf-caps", &host(settings), &["/HostConfig"])?;
    let config = json!({ "Image": lab.image(), "Cmd": ["true"], "HostConfig": { "CapAdd": ["FLY"] } });
    refused(lab, &config)
}

fn health_check(lab: &mut Lab) -> Result<()> {
    let check =
        json!({ "Test": ["CMD-SHELL", "true"], "Interval": 2_000_000_000u64, "Timeout": 1_000_000_000, "Retries": 2 });
    made(lab, "cf-health", &json!({ "Healthcheck": check }), &["/Config/Healthcheck", "/State"])?;
    let config = json!({ "Image": lab.image(), "Cmd": ["true"], "Healthcheck": { "Interval": 5 } });
    refused(lab, &config)
}

fn restart_policies(lab: &mut Lab) -> Result<()> {
    made(
        lab,
        "cf-restarts",
        &host(json!({ "RestartPolicy": { "Name": "on-failure", "MaximumRetryCount": 3 } })),
        &["/HostConfig/RestartPolicy"],
    )?;
    let image = lab.image();
    for settings in [
        json!({ "RestartPolicy": { "Name": "always", "MaximumRetryCount": 3 } }),
        json!({ "RestartPolicy": { "Name": "on-failure", "MaximumRetryCount": -1 } }),
        json!({ "RestartPolicy": { "Name": "always" }, "AutoRemove": true }),
    ] {
        let config = json!({ "Image": image, "Cmd": ["true"], "HostConfig": settings });
        refused(lab, &config)?;
    }
    Ok(())
}

fn exposed_and_published_ports(lab: &mut Lab) -> Result<()> {
    let bindings =
        json!({ "80/tcp": [{ "HostIp": "127.0.0.1", "HostPort": "18080" }], "53/udp": [{ "HostPort": "" }] });
    let config = json!({ "ExposedPorts": { "80/tcp": {}, "7000-7001/udp": {} }, "HostConfig": { "PortBindings": bindings, "PublishAllPorts": false } });
    made(lab, "cf-ports", &config, &["/HostConfig/PortBindings", "/Config/ExposedPorts", "/NetworkSettings/Ports"])?;
    let image = lab.image();
    for settings in [json!({ "80/tcp": [{ "HostPort": "x" }] }), json!({ "80-x/tcp": [{ "HostPort": "1" }] })] {
        let config = json!({ "Image": image, "Cmd": ["true"], "HostConfig": { "PortBindings": settings } });
        refused(lab, &config)?;
    }
    Ok(())
}

fn names_and_hosts(lab: &mut Lab) -> Result<()> {
    let settings = json!({ "ExtraHosts": ["a:10.123.0.9", "gate:host-gateway"], "Dns": ["10.123.0.53"], "DnsSearch": ["cf.test"], "DnsOptions": ["ndots:2"] });
    made(
        lab,
        "cf-hosts",
        &json!({ "HostConfig": settings, "Domainname": "cf.test" }),
        &["/HostConfig", "/Config/Domainname"],
    )?;
    let image = lab.image();
    for extra in [json!(["nocolon"]), json!(["a:notanaddress"])] {
        let config = json!({ "Image": image, "Cmd": ["true"], "HostConfig": { "ExtraHosts": extra } });
        refused(lab, &config)?;
    }
    Ok(())
}

fn environment_labels_and_stop(lab: &mut Lab) -> Result<()> {
    let config = json!({
        "Env": ["A=b", "EMPTY=", "BARE", "ÜMLAUT=ja"], "Labels": { "k": "v \"quoted\" <&>", "empty": "" }, "StopSignal": "SIGUSR1", "StopTimeout": 7,
        "User": "1:2", "WorkingDir": "/deep/er", "Entrypoint": ["sh", "-c"], "Cmd": ["true"], "Tty": true, "OpenStdin": true, "Shell": ["sh"],
    });
    made(lab, "cf-config", &config, &["/Config", "/Path", "/Args"])?;
    let bad = json!({ "Image": lab.image(), "Cmd": ["true"], "WorkingDir": "relative" });
    lab.later("DELETE", "/containers/cf-relative");
    lab.post("/containers/create?name=cf-relative").json(&bad).expect(400)?;
    let bad = json!({ "Image": lab.image(), "Cmd": ["true"], "Env": ["=x"] });
    refused(lab, &bad)?;
    let bad = json!({ "Image": lab.image(), "Cmd": ["true"], "StopSignal": "SIGODD" });
    refused(lab, &bad)
}

fn unknown_and_case_variant_fields(lab: &mut Lab) -> Result<()> {
    // Go takes keys in any case.
    let image = lab.image();
    let body = format!(
        r#"{{"image":"{image}","CMD":["true"],"Hostname":"v","Novel":{{"x":[1]}},"hostconfig":{{"BINDS":["/run/lock:/one"]}}}}"#
    );
    lab.later("DELETE", "/containers/cf-variant");
    lab.post("/containers/create?name=cf-variant").text(&body).expect(201)?;
    let seen = lab.get("/containers/cf-variant/json").show(Show::Head).expect(200)?.json()?;
    lab.note(&format!("< {} {}", seen["Config"]["Cmd"], seen["HostConfig"]["Binds"]));
    ensure!(seen["HostConfig"]["Binds"] == json!(["/run/lock:/one"]), "{seen}");
    Ok(())
}

fn binds_given_twice(lab: &mut Lab) -> Result<()> {
    // Of two the last counts in Go; whoever reads the first is deceived, so a reader on the way may refuse both.
    let image = lab.image();
    let body = format!(
        r#"{{"Image":"{image}","Cmd":["true"],"HostConfig":{{"Binds":["/run/lock:/one"],"binds":["/run/lock:/two"]}}}}"#
    );
    lab.later("DELETE", "/containers/cf-twice");
    let (head, _) = lab.post("/containers/create?name=cf-twice").text(&body).any()?;
    ensure!(matches!(head.status, 201 | 400), "{}", head.line);
    Ok(())
}

fn big_body(lab: &mut Lab) -> Result<()> {
    let labels: Value = (0..2000)
        .map(|n| (format!("label-{n:04}"), Value::from("x".repeat(100))))
        .collect::<serde_json::Map<_, _>>()
        .into();
    let config = json!({ "Image": lab.image(), "Cmd": ["true"], "Labels": labels });
    lab.later("DELETE", "/containers/cf-big");
    lab.post("/containers/create?name=cf-big").json(&config).chunked().expect(201)?;
    let seen = lab.get("/containers/cf-big/json").show(Show::Head).expect(200)?.json()?;
    let labels = seen["Config"]["Labels"].as_object().context("no labels")?;
    ensure!(labels.len() >= 2000, "{} labels", labels.len());
    Ok(())
}

fn platform_that_fits(lab: &mut Lab) -> Result<()> {
    let config = json!({ "Image": lab.image(), "Cmd": ["true"] });
    lab.later("DELETE", "/containers/cf-platform");
    lab.post("/containers/create?name=cf-platform&platform=linux/amd64").json(&config).expect(201)?;
    lab.post("/containers/create?name=cf-other&platform=linux/s390x").json(&config).expect(404).map(drop)
}

fn real_time_is_refused(lab: &mut Lab) -> Result<()> {
    let config = json!({ "Image": lab.image(), "Cmd": ["true"], "HostConfig": { "KernelMemory": 67_108_864, "CpuRealtimePeriod": 1000 } });
    lab.later("DELETE", "/containers/cf-warned");
    lab.post("/v1.40/containers/create?name=cf-warned").json(&config).show(Show::Exact).expect(500).map(drop)
}

fn checkpoint_needs_experimental(lab: &mut Lab) -> Result<()> {
    let idler = lab.idler()?;
    lab.post(&format!("/containers/{idler}/checkpoints")).json(&json!({ "CheckpointID": "one" })).expect(501)?;
    lab.get(&format!("/containers/{idler}/checkpoints")).expect(501)?;
    lab.delete(&format!("/containers/{idler}/checkpoints/one")).expect(501)?;
    lab.post(&format!("/containers/{idler}/start?checkpoint=one")).expect(400).map(drop)
}
