//! Every form of mount that a container can be made with, as inspect shows it again: binds, mounts of each type with their
//! options, tmpfs, volumes of other containers.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::create::{self, host, made};
use crate::case::cases;
use crate::frames::Outputs;
use crate::lab::Lab;

cases! { "mounts":
    binds_of_a_volume, binds_of_a_folder, binds_with_modes_and_propagation, type_bind, type_bind_options,
    type_volume, type_volume_options, type_volume_subpath, type_tmpfs, all_kinds_together, tmpfs,
    volumes_from, volumes_from_read_only, anonymous_volumes, refused, work_when_started,
}

/// How many mounts inspect shows, and insists on that.
fn mounted(seen: &Value, count: usize) -> Result<()> {
    ensure!(seen["Mounts"].as_array().is_some_and(|mounts| mounts.len() == count), "mounts: {}", seen["Mounts"]);
    Ok(())
}

/// Removes a volume with the case.
fn volume(lab: &mut Lab, name: &str) {
    lab.later("DELETE", format!("/volumes/{name}?force=1"));
}

fn binds_of_a_volume(lab: &mut Lab) -> Result<()> {
    volume(lab, "cf-bound");
    let seen =
        made(lab, "cf-binds-v", &host(json!({ "Binds": ["cf-bound:/data:ro"] })), &["/Mounts", "/HostConfig/Binds"])?;
    mounted(&seen, 1)
}

fn binds_of_a_folder(lab: &mut Lab) -> Result<()> {
    let seen = made(
        lab,
        "cf-binds-f",
        &host(json!({ "Binds": ["/run/lock:/a", "/run:/b:ro"] })),
        &["/Mounts", "/HostConfig/Binds"],
    )?;
    mounted(&seen, 2)
}

fn binds_with_modes_and_propagation(lab: &mut Lab) -> Result<()> {
    volume(lab, "cf-nocopy");
    let binds = [
        "/run/lock:/a:rw,rslave",
        "/run/lock:/b:z",
        "/run/lock:/c:ro,Z",
        "cf-nocopy:/d:nocopy",
        "/run/lock:/e:rprivate",
    ];
    let seen = made(lab, "cf-modes", &host(json!({ "Binds": binds })), &["/Mounts", "/HostConfig/Binds"])?;
    mounted(&seen, 5)
}

fn type_bind(lab: &mut Lab) -> Result<()> {
    let mounts =
        json!([{ "Type": "bind", "Source": "/run/lock", "Target": "/a", "ReadOnly": true, "Consistency": "cached" }]);
    let seen = made(lab, "cf-mb", &host(json!({ "Mounts": mounts })), &["/Mounts", "/HostConfig/Mounts"])?;
    mounted(&seen, 1)
}

fn type_bind_options(lab: &mut Lab) -> Result<()> {
    let mounts = json!([
        { "Type": "bind", "Source": "/run/lock", "Target": "/a", "BindOptions": { "Propagation": "rslave", "NonRecursive": true } },
        { "Type": "bind", "Source": "/run/lock", "Target": "/b", "ReadOnly": true, "BindOptions": { "ReadOnlyNonRecursive": true } },
        { "Type": "bind", "Source": "/run/cf-made", "Target": "/c", "BindOptions": { "CreateMountpoint": true } },
    ]);
    let seen = made(lab, "cf-mbo", &host(json!({ "Mounts": mounts })), &["/Mounts", "/HostConfig/Mounts"])?;
    mounted(&seen, 3)
}

fn type_volume(lab: &mut Lab) -> Result<()> {
    volume(lab, "cf-mounted");
    let mounts = json!([{ "Type": "volume", "Source": "cf-mounted", "Target": "/a" }]);
    let seen = made(lab, "cf-mv", &host(json!({ "Mounts": mounts })), &["/Mounts", "/HostConfig/Mounts"])?;
    mounted(&seen, 1)
}

fn type_volume_options(lab: &mut Lab) -> Result<()> {
    volume(lab, "cf-optioned");
    let driver = json!({ "Name": "local", "Options": { "type": "tmpfs", "device": "tmpfs", "o": "size=1m" } });
    let options = json!({ "NoCopy": true, "Labels": { "cf": "v" }, "DriverConfig": driver });
    let mounts = json!([{ "Type": "volume", "Source": "cf-optioned", "Target": "/a", "ReadOnly": true, "VolumeOptions": options }]);
    let seen = made(lab, "cf-mvo", &host(json!({ "Mounts": mounts })), &["/Mounts", "/HostConfig/Mounts"])?;
    mounted(&seen, 1)?;
    lab.get("/volumes/cf-optioned").expect(200).map(drop)
}

fn type_volume_subpath(lab: &mut Lab) -> Result<()> {
    volume(lab, "cf-sub");
    let mounts =
        json!([{ "Type": "volume", "Source": "cf-sub", "Target": "/a", "VolumeOptions": { "Subpath": "deep/er" } }]);
    made(lab, "cf-mvs", &host(json!({ "Mounts": mounts })), &["/Mounts", "/HostConfig/Mounts"])?;
    // The path is looked for only now, and is not there.
    lab.post("/containers/cf-mvs/start").expect(404).map(drop)
}

fn type_tmpfs(lab: &mut Lab) -> Result<()> {
    let options = json!({ "SizeBytes": 1_048_576, "Mode": 0o1750 });
    let mounts =
        json!([{ "Type": "tmpfs", "Target": "/a", "TmpfsOptions": options }, { "Type": "tmpfs", "Target": "/b" }]);
    let seen = made(lab, "cf-mt", &host(json!({ "Mounts": mounts })), &["/Mounts", "/HostConfig/Mounts"])?;
    mounted(&seen, 2)
}

fn all_kinds_together(lab: &mut Lab) -> Result<()> {
    volume(lab, "cf-all-1");
    volume(lab, "cf-all-2");
    let mounts = json!([
        { "Type": "bind", "Source": "/run/lock", "Target": "/a" },
        { "Type": "volume", "Source": "cf-all-1", "Target": "/b" },
        { "Type": "tmpfs", "Target": "/c" },
    ]);
    let settings = json!({ "Mounts": mounts, "Binds": ["cf-all-2:/d", "/run:/e"], "Tmpfs": { "/f": "size=64k" } });
    let config = json!({ "HostConfig": settings, "Volumes": { "/g": {} } });
    let seen =
        made(lab, "cf-all", &config, &["/Mounts", "/HostConfig/Mounts", "/HostConfig/Binds", "/HostConfig/Tmpfs"])?;
    mounted(&seen, 6)
}

fn tmpfs(lab: &mut Lab) -> Result<()> {
    let settings = json!({ "Tmpfs": { "/a": "rw,noexec,size=65536k", "/b": "" }, "ShmSize": 1_048_576 });
    made(lab, "cf-tmpfs", &host(settings), &["/Mounts", "/HostConfig/Tmpfs", "/HostConfig/ShmSize"]).map(drop)
}

fn volumes_from(lab: &mut Lab) -> Result<()> {
    volume(lab, "cf-lent");
    made(lab, "cf-lender", &host(json!({ "Binds": ["cf-lent:/data", "/run/lock:/t"] })), &[])?;
    let seen = made(
        lab,
        "cf-borrower",
        &host(json!({ "VolumesFrom": ["cf-lender"] })),
        &["/Mounts", "/HostConfig/VolumesFrom"],
    )?;
    mounted(&seen, 2)
}

fn volumes_from_read_only(lab: &mut Lab) -> Result<()> {
    volume(lab, "cf-lent-ro");
    made(lab, "cf-lender-ro", &host(json!({ "Binds": ["cf-lent-ro:/data"] })), &[])?;
    let seen = made(lab, "cf-borrower-ro", &host(json!({ "VolumesFrom": ["cf-lender-ro:ro"] })), &["/Mounts"])?;
    ensure!(seen["Mounts"][0]["RW"] == false, "{}", seen["Mounts"]);
    Ok(())
}

fn anonymous_volumes(lab: &mut Lab) -> Result<()> {
    let config = json!({ "Volumes": { "/one": {}, "/two": {} }, "HostConfig": { "Binds": ["/three"] } });
    let seen = made(lab, "cf-nameless", &config, &["/Config/Volumes"])?;
    mounted(&seen, 3)
}

fn refused(lab: &mut Lab) -> Result<()> {
    let image = lab.image();
    for mount in [
        json!({ "Type": "bind", "Target": "/a" }),
        json!({ "Type": "bind", "Source": "tmp", "Target": "/a" }),
        json!({ "Type": "bind", "Source": "/run/lock", "Target": "relative" }),
        json!({ "Type": "bind", "Source": "/run/lock", "Target": "/" }),
        json!({ "Type": "bind", "Source": "/run/lock", "Target": "/a", "VolumeOptions": {} }),
        json!({ "Type": "bind", "Source": "/run/lock", "Target": "/a", "BindOptions": { "Propagation": "sideways" } }),
        json!({ "Type": "volume", "Source": "cf-x", "Target": "/a", "BindOptions": {} }),
        json!({ "Type": "volume", "Source": "/abs", "Target": "/a" }),
        json!({ "Type": "volume", "Source": "cf-x", "Target": "/a", "VolumeOptions": { "Subpath": "../up" } }),
        json!({ "Type": "tmpfs", "Source": "x", "Target": "/a" }),
        json!({ "Type": "npipe", "Source": "x", "Target": "/a" }),
        json!({ "Type": "cluster", "Source": "x", "Target": "/a" }),
        json!({ "Target": "/a" }),
        json!({ "Type": "bind", "Source": "/run/lock", "Target": "/a", "Odd": 1, "TmpfsOptions": {} }),
    ] {
        let config = json!({ "Image": image, "Cmd": ["true"], "HostConfig": { "Mounts": [mount] } });
        create::refused(lab, &config)?;
    }
    Ok(())
}

fn work_when_started(lab: &mut Lab) -> Result<()> {
    volume(lab, "cf-works");
    let script = "echo kept > /v/f; cat /v/f; echo x > /ro/x || echo refused; stat -c %a /t; [ -S /s ] && echo socket; df -k /t | tail -1 | awk '{print $2}'";
    let mounts = json!([
        { "Type": "volume", "Source": "cf-works", "Target": "/v" },
        { "Type": "bind", "Source": "/run/lock", "Target": "/ro", "ReadOnly": true },
        { "Type": "tmpfs", "Target": "/t", "TmpfsOptions": { "SizeBytes": 1_048_576, "Mode": 0o1750 } },
    ]);
    let settings = json!({ "Mounts": mounts, "Binds": ["/var/run/docker.sock:/s"], "NetworkMode": "none" });
    let id = lab
        .run_with("cf-works", &json!({ "Image": lab.image(), "Cmd": ["sh", "-c", script], "HostConfig": settings }))?;
    lab.wait(&id)?;
    let reply = lab.quiet("GET", &format!("/containers/{id}/logs?stdout=1"), None, 200)?;
    let outputs = Outputs::parse(&reply.body)?;
    lab.note_bytes("stdout", &outputs.stdout);
    ensure!(outputs.stdout == b"kept\nrefused\n1750\nsocket\n1024\n", "{:?}", outputs.stdout.escape_ascii());
    Ok(())
}
