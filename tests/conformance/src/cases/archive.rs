//! Files in and out of containers: archive in its three methods, changes, export.

use anyhow::{Context, Result, ensure};
use serde_json::json;

use crate::ask::Show;
use crate::case::cases;
use crate::lab::Lab;
use crate::tar::{self, Tar};

cases! { "archive":
    put_then_get_a_file, get_a_folder, head_tells_what_a_path_is, head_follows_a_link, path_that_is_not_there, put_into_a_file,
    put_where_there_is_nothing, put_rubbish, put_no_overwrite, put_gzip, put_chunked, put_many_files, changes_tell_what_happened,
    export_has_the_whole_tree, read_only_container, put_keeps_owners,
}

const TAR: &str = "application/x-tar";

fn put(lab: &mut Lab, query: &str, archive: Vec<u8>, status: u16) -> Result<()> {
    let idler = lab.idler()?;
    lab.ask("PUT", &format!("/containers/{idler}/archive?{query}")).body(TAR, archive).expect(status).map(drop)
}

/// Asks for a path, notes what is in the archive, and returns its entries.
fn get(lab: &mut Lab, path: &str) -> Result<Vec<tar::Entry>> {
    let idler = lab.idler()?;
    let reply = lab.get(&format!("/containers/{idler}/archive?path={path}")).show(Show::Head).expect(200)?;
    tar::listing(&reply.body)?.iter().for_each(|line| lab.note(&format!("< {line}")));
    tar::entries(&reply.body)
}

fn put_then_get_a_file(lab: &mut Lab) -> Result<()> {
    put(lab, "path=/data", Tar::default().file("one", 0o640, b"first\n").finish(), 200)?;
    let entries = get(lab, "/data/one")?;
    ensure!(entries.len() == 1 && entries[0].data == b"first\n" && entries[0].name == "one", "{entries:?}");
    ensure!(entries[0].mode == 0o640 && entries[0].kind == '0', "{entries:?}");
    Ok(())
}

fn get_a_folder(lab: &mut Lab) -> Result<()> {
    let archive = Tar::default().folder("tree/", 0o750).file("tree/leaf", 0o600, b"x").link("tree/to", "leaf").finish();
    put(lab, "path=/data", archive, 200)?;
    let entries = get(lab, "/data/tree")?;
    ensure!(entries.len() == 3, "{entries:?}");
    get(lab, "/data/tree/.").map(drop)
}

fn head_tells_what_a_path_is(lab: &mut Lab) -> Result<()> {
    put(lab, "path=/data", Tar::default().file("seen", 0o604, b"12345").finish(), 200)?;
    let idler = lab.idler()?;
    let reply = lab.ask("HEAD", &format!("/containers/{idler}/archive?path=/data/seen")).expect(200)?;
    ensure!(reply.head.field("x-docker-container-path-stat").is_some(), "no stat: {:?}", reply.head);
    ensure!(reply.body.is_empty(), "a body on HEAD");
    Ok(())
}

fn head_follows_a_link(lab: &mut Lab) -> Result<()> {
    put(lab, "path=/data", Tar::default().link("pointer", "/etc/passwd").finish(), 200)?;
    let idler = lab.idler()?;
    lab.ask("HEAD", &format!("/containers/{idler}/archive?path=/data/pointer")).expect(200).map(drop)
}

fn path_that_is_not_there(lab: &mut Lab) -> Result<()> {
    let idler = lab.idler()?;
    lab.get(&format!("/containers/{idler}/archive?path=/no/such/path")).expect(404)?;
    lab.ask("HEAD", &format!("/containers/{idler}/archive?path=/no/such/path")).expect(404).map(drop)
}

fn put_into_a_file(lab: &mut Lab) -> Result<()> {
    put(lab, "path=/etc/passwd", Tar::default().file("x", 0o600, b"x").finish(), 500)
}

fn put_where_there_is_nothing(lab: &mut Lab) -> Result<()> {
    put(lab, "path=/no/such/path", Tar::default().file("x", 0o600, b"x").finish(), 404)
}

fn put_rubbish(lab: &mut Lab) -> Result<()> {
    put(lab, "path=/data", vec![0x55; 100_000], 500)
}

fn put_no_overwrite(lab: &mut Lab) -> Result<()> {
    put(lab, "path=/data", Tar::default().folder("solid/", 0o755).finish(), 200)?;
    put(lab, "path=/data&noOverwriteDirNonDir=1", Tar::default().file("solid", 0o600, b"x").finish(), 500)
}

fn put_gzip(lab: &mut Lab) -> Result<()> {
    put(lab, "path=/data", tar::gzip(&Tar::default().file("zipped", 0o600, b"unzipped\n").finish()), 200)?;
    let entries = get(lab, "/data/zipped")?;
    ensure!(entries[0].data == b"unzipped\n", "{entries:?}");
    Ok(())
}

fn put_chunked(lab: &mut Lab) -> Result<()> {
    let idler = lab.idler()?;
    let archive = Tar::default().file("pieces", 0o600, &vec![b'p'; 50_000]).finish();
    lab.ask("PUT", &format!("/containers/{idler}/archive?path=/data")).body(TAR, archive).chunked().expect(200)?;
    let entries = get(lab, "/data/pieces")?;
    ensure!(entries[0].data.len() == 50_000, "{} bytes", entries[0].data.len());
    Ok(())
}

fn put_many_files(lab: &mut Lab) -> Result<()> {
    let mut archive = Tar::default().folder("many/", 0o755);
    for number in 0..500 {
        archive = archive.file(&format!("many/{number:03}"), 0o644, format!("{number}\n").as_bytes());
    }
    put(lab, "path=/data", archive.finish(), 200)?;
    let entries = get(lab, "/data/many")?;
    ensure!(entries.len() == 501, "{} entries", entries.len());
    Ok(())
}

fn changes_tell_what_happened(lab: &mut Lab) -> Result<()> {
    let config = json!({ "Image": lab.image(), "Cmd": ["true"] });
    lab.create("cf-changes", &config)?;
    lab.get("/containers/cf-changes/changes").expect(200)?;
    let archive = Tar::default().file("added", 0o600, b"x").finish();
    lab.ask("PUT", "/containers/cf-changes/archive?path=/root").body(TAR, archive).expect(200)?;
    let archive = Tar::default().file("passwd", 0o600, b"x").finish();
    lab.ask("PUT", "/containers/cf-changes/archive?path=/etc").body(TAR, archive).expect(200)?;
    let reply = lab.get("/containers/cf-changes/changes").show(Show::Sorted).expect(200)?.json()?;
    let kind = |path: &str| reply.as_array()?.iter().find(|change| change["Path"] == path)?["Kind"].as_i64();
    ensure!(kind("/root/added") == Some(1) && kind("/etc/passwd") == Some(0), "{reply}");
    Ok(())
}

fn export_has_the_whole_tree(lab: &mut Lab) -> Result<()> {
    let archive = Tar::default().folder("only/", 0o711).file("only/file", 0o604, b"content").finish();
    lab.later("DELETE", "/images/cf/tiny:1");
    lab.post("/images/create?fromSrc=-&repo=cf/tiny&tag=1").body(TAR, archive).expect(200)?;
    lab.create("cf-export", &json!({ "Image": "cf/tiny:1", "Cmd": ["/none"] }))?;
    let reply = lab.get("/containers/cf-export/export").show(Show::Head).expect(200)?;
    tar::listing(&reply.body)?.iter().for_each(|line| lab.note(&format!("< {line}")));
    let entries = tar::entries(&reply.body)?;
    let file = entries.iter().find(|entry| entry.name == "only/file").context("the file is not in the export")?;
    ensure!(file.data == b"content" && file.mode == 0o604, "{file:?}");
    Ok(())
}

fn read_only_container(lab: &mut Lab) -> Result<()> {
    let config = json!({ "Image": lab.image(), "Cmd": ["true"], "HostConfig": { "ReadonlyRootfs": true } });
    lab.create("cf-readonly", &config)?;
    let archive = Tar::default().file("x", 0o600, b"x").finish();
    lab.ask("PUT", "/containers/cf-readonly/archive?path=/root").body(TAR, archive).expect(500).map(drop)
}

fn put_keeps_owners(lab: &mut Lab) -> Result<()> {
    put(lab, "path=/data&copyUIDGID=1", Tar::default().file("owned", 0o600, b"x").finish(), 200)?;
    get(lab, "/data/owned").map(drop)
}
