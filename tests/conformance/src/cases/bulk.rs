//! Large bodies at the memory of a buffer: more than a gigabyte in and out, without being held anywhere on the way. What dockerd
//! would have to hash is kept small, because hashing is slow on an emulated processor: the gigabyte in is a file beside the
//! image, the gigabyte out a sparse file. Only for the image of a gigabyte that is saved there is no way around it: it is made of
//! zeros, once. Slow machines ask for less (`--bulk`).

use std::io::Read;

use anyhow::{Context, Result, ensure};
use serde_json::json;

use crate::ask::Show;
use crate::case::cases;
use crate::lab::Lab;
use crate::reply::Reply;
use crate::tar::{self, Tar};

cases! { "bulk": load_of_a_gigabyte, archive_of_a_gigabyte, save_of_a_gigabyte }

/// What the client may grow by while it passes, in bytes.
const GROWTH: u64 = 32 << 20;

/// The image's only layer, and its SHA-256, which dockerd checks.
fn layer() -> (Vec<u8>, &'static str) {
    let layer = Tar::default().file("word", 0o644, b"beside a gigabyte\n").finish();
    (layer, "117a20d1ba089c9d6c0f3e6011d17412967cf771a4dc5a54a1d32b5a39886597")
}

fn load_of_a_gigabyte(lab: &mut Lab) -> Result<()> {
    lab.later("DELETE", "/images/cf/large:1");
    let (layer, hash) = layer();
    let config = json!({
        "architecture": "amd64", "os": "linux", "config": {}, "created": "2001-09-09T01:46:40Z",
        "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{hash}")] },
    });
    let manifest = json!([{ "Config": "config.json", "RepoTags": ["cf/large:1"], "Layers": ["layer.tar"] }]);
    let files = Tar::default()
        .file("config.json", 0o644, config.to_string().as_bytes())
        .file("manifest.json", 0o644, manifest.to_string().as_bytes())
        .file("layer.tar", 0o644, &layer)
        .open();
    let before = resident()?;
    let large = lab.world.bulk;
    let mut wire = lab.connect()?;
    let zeros = large + 1024;
    let length = files.len() as u64 + 512 + zeros;
    wire.send(b"POST /v1.45/images/load?quiet=1 HTTP/1.1\r\nHost: docker\r\nContent-Type: application/x-tar\r\n")?;
    wire.send(format!("Content-Length: {length}\r\n\r\n").as_bytes())?;
    wire.send(&[files.as_slice(), &tar::header("ballast", 0o644, large, b'0', "")].concat())?;
    let piece = vec![0; 256 << 10];
    let mut left = zeros;
    while left > 0 {
        let step = left.min(piece.len() as u64);
        wire.send(&piece[..step as usize])?;
        left -= step;
    }
    let reply = Reply::read(&mut wire, "POST")?;
    lab.note_reply(&reply, Show::Exact);
    ensure!(reply.text().contains("cf/large:1"), "{} {}", reply.head.line, reply.text());
    lab.get("/images/cf/large:1/json").expect(200)?;
    constant_memory(before)
}

fn archive_of_a_gigabyte(lab: &mut Lab) -> Result<()> {
    let id = sparse(lab)?;
    let before = resident()?;
    let (head, mut wire) = lab.get(&format!("/containers/{id}/archive?path=/large")).open(200)?;
    ensure!(head.field("transfer-encoding") == Some("chunked"), "{head:?}");
    let bytes = wire.skip_chunks()?;
    lab.note(&format!("< {bytes} bytes"));
    ensure!(bytes > lab.world.bulk, "only {bytes} bytes");
    constant_memory(before)
}

/// A container with a large file of nothing.
fn sparse(lab: &mut Lab) -> Result<String> {
    let large = lab.world.bulk;
    let id = lab.run("cf-large", &format!("truncate -s {large} /large; touch -d '2001-09-09 01:46:40' /large"))?;
    ensure!(lab.wait(&id)? == 0, "no large file");
    Ok(id)
}

fn save_of_a_gigabyte(lab: &mut Lab) -> Result<()> {
    let id = sparse(lab)?;
    lab.later("DELETE", "/images/cf/heavy:1?force=1");
    lab.post(&format!("/commit?container={id}&repo=cf/heavy&tag=1")).json(&json!({})).expect(201)?;
    let before = resident()?;
    let (_, mut wire) = lab.get("/images/cf/heavy:1/get").open(200)?;
    let bytes = wire.skip_chunks()?;
    ensure!(bytes > lab.world.bulk, "only {bytes} bytes");
    constant_memory(before)
}

fn constant_memory(before: u64) -> Result<()> {
    let grown = resident()?.saturating_sub(before);
    ensure!(grown < GROWTH, "this client grew by {grown} bytes");
    Ok(())
}

/// This process's resident memory in bytes.
fn resident() -> Result<u64> {
    let mut text = String::new();
    std::fs::File::open("/proc/self/statm")?.read_to_string(&mut text)?;
    let pages: u64 = text.split_whitespace().nth(1).context("statm")?.parse()?;
    Ok(pages * 4096)
}
