//! Large bodies at the memory of a buffer: an image of more than a gigabyte in and out, without being held anywhere on the way.

use std::io::Read;

use anyhow::{Context, Result, ensure};
use serde_json::json;

use crate::case::cases;
use crate::lab::Lab;
use crate::tar;
use crate::wire::Wire;

cases! { "bulk": load_and_save_a_gigabyte }

/// The size of the one large file, in bytes.
const LARGE: u64 = 1 << 30;

/// The image's layer, an archive with one file of zeros, and its SHA-256, which dockerd checks.
const LAYER: u64 = 512 + LARGE + 1024;
const LAYER_SHA256: &str = "b1a137a2e5520f70a85bf6d083d5e30ad3ed1d6c5480adaa5a1313cf9d7f5e6b";

fn load_and_save_a_gigabyte(lab: &mut Lab) -> Result<()> {
    lab.later("DELETE", "/images/cf/large:1");
    let before = resident()?;
    let mut wire = lab.connect()?;
    wire.send(b"POST /v1.45/images/load?quiet=1 HTTP/1.1\r\nHost: docker\r\nContent-Type: application/x-tar\r\n")?;
    wire.send(format!("Content-Length: {}\r\n\r\n", upload_size()).as_bytes())?;
    upload(&mut wire)?;
    let reply = crate::reply::Reply::read(&mut wire, "POST")?;
    lab.note_reply(&reply, crate::ask::Show::Exact);
    ensure!(reply.text().contains("cf/large:1"), "{} {}", reply.head.line, reply.text());
    lab.get("/images/cf/large:1/json").expect(200)?;
    let saved = download(lab)?;
    lab.note(&format!("< an archive with all of it: {}", saved > LARGE));
    ensure!(saved > LARGE, "only {saved} bytes came back");
    let grown = resident()?.saturating_sub(before);
    ensure!(grown < 32 << 20, "this client grew by {grown} bytes");
    Ok(())
}

/// Everything but the layer's content.
fn metadata() -> (Vec<u8>, [u8; 512], [u8; 512]) {
    let config = json!({
        "architecture": "amd64", "os": "linux", "config": {}, "created": "2001-09-09T01:46:40Z",
        "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{LAYER_SHA256}")] },
    });
    let manifest = json!([{ "Config": "config.json", "RepoTags": ["cf/large:1"], "Layers": ["layer.tar"] }]);
    let files = tar::Tar::default().file("config.json", 0o644, config.to_string().as_bytes()).file(
        "manifest.json",
        0o644,
        manifest.to_string().as_bytes(),
    );
    (files.open(), tar::header("layer.tar", 0o644, LAYER, b'0', ""), tar::header("large", 0o644, LARGE, b'0', ""))
}

fn upload_size() -> u64 {
    // The layer's length is a multiple of a block, and so is everything before it.
    metadata().0.len() as u64 + 512 + LAYER + 1024
}

fn upload(wire: &mut Wire) -> Result<()> {
    let (files, layer, large) = metadata();
    wire.send(&[files.as_slice(), &layer, &large].concat())?;
    let zeros = vec![0; 256 << 10];
    let mut left = LARGE + 1024 + 1024;
    while left > 0 {
        let step = left.min(zeros.len() as u64);
        wire.send(&zeros[..step as usize])?;
        left -= step;
    }
    Ok(())
}

/// Saves the image and counts the bytes.
fn download(lab: &mut Lab) -> Result<u64> {
    let (head, mut wire) = lab.get("/images/cf/large:1/get").open(200)?;
    ensure!(head.field("transfer-encoding") == Some("chunked"), "{head:?}");
    let mut bytes = 0;
    while let Some(chunk) = wire.chunk()? {
        bytes += chunk.len() as u64;
    }
    Ok(bytes)
}

/// This process's resident memory in bytes.
fn resident() -> Result<u64> {
    let mut text = String::new();
    std::fs::File::open("/proc/self/statm")?.read_to_string(&mut text)?;
    let pages: u64 = text.split_whitespace().nth(1).context("statm")?.parse()?;
    Ok(pages * 4096)
}
