//! Push and pull against a registry beside dockerd (`crate::registry`), without a network: by tag, by digest, what is not there,
//! a login, and what dockerd knows of an image that it has not.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::images;
use crate::ask::Show;
use crate::case::cases;
use crate::lab::Lab;
use crate::registry::ADDRESS;

cases! { "registry":
    push_and_pull_by_tag, pull_by_digest, pull_what_is_not_there, pull_every_tag, push_what_is_there, inspect_from_afar, login,
}

/// The header of a request without credentials: `{}` in base64.
const NOBODY: &str = "X-Registry-Auth: e30=";

/// Notes what an operation said, but for the progress of layers, whose steps are a matter of time; its lines.
fn said(lab: &mut Lab, ask: &str) -> Result<Vec<Value>> {
    let lines = lab.post(ask).header(NOBODY).show(Show::Head).expect(200)?.json_lines()?;
    for line in lines.iter().filter(|line| line.get("progressDetail").is_none()) {
        lab.note(&format!("< {line}"));
    }
    Ok(lines)
}

/// Makes and pushes an image; its name in the registry, its id and its digest there.
fn pushed(lab: &mut Lab, word: &str) -> Result<(String, String, String)> {
    let id = images::make(lab, &format!("cf/{word}"), word)?;
    let name = format!("{ADDRESS}/cf/{word}");
    lab.quiet("POST", &format!("/images/cf/{word}:1/tag?repo={name}&tag=1"), None, 201)?;
    lab.later("DELETE", format!("/images/{name}:1?force=1"));
    let lines = said(lab, &format!("/images/{name}/push?tag=1"))?;
    let digest = lines.iter().find_map(|line| line["aux"]["Digest"].as_str()).context("push named no digest")?;
    Ok((name, id, digest.to_owned()))
}

/// Takes the image away here, so that it has to come from there.
fn forget(lab: &mut Lab, name: &str, word: &str) -> Result<()> {
    lab.quiet("DELETE", &format!("/images/{name}:1"), None, 200)?;
    lab.quiet("DELETE", &format!("/images/cf/{word}:1"), None, 200).map(drop)
}

fn push_and_pull_by_tag(lab: &mut Lab) -> Result<()> {
    let (name, id, _) = pushed(lab, "travelled")?;
    forget(lab, &name, "travelled")?;
    said(lab, &format!("/images/create?fromImage={name}&tag=1"))?;
    let image = lab.get(&format!("/images/{name}:1/json")).expect(200)?.json()?;
    ensure!(image["Id"] == id.as_str(), "another image came back: {image}");
    // Nothing is missing the second time.
    said(lab, &format!("/images/create?fromImage={name}&tag=1")).map(drop)
}

fn pull_by_digest(lab: &mut Lab) -> Result<()> {
    let (name, id, digest) = pushed(lab, "digested")?;
    forget(lab, &name, "digested")?;
    lab.later("DELETE", format!("/images/{name}@{digest}?force=1"));
    said(lab, &format!("/images/create?fromImage={name}&tag={digest}"))?;
    let image = lab.get(&format!("/images/{name}@{digest}/json")).expect(200)?.json()?;
    ensure!(image["Id"] == id.as_str(), "another image came back: {image}");
    Ok(())
}

fn pull_what_is_not_there(lab: &mut Lab) -> Result<()> {
    lab.post(&format!("/images/create?fromImage={ADDRESS}/cf/none&tag=1")).header(NOBODY).expect(404).map(drop)
}

fn pull_every_tag(lab: &mut Lab) -> Result<()> {
    // This registry lists no tags.
    lab.post(&format!("/images/create?fromImage={ADDRESS}/cf/none")).header(NOBODY).expect(404).map(drop)
}

fn push_what_is_there(lab: &mut Lab) -> Result<()> {
    let (name, _, digest) = pushed(lab, "again")?;
    let lines = said(lab, &format!("/images/{name}/push?tag=1"))?;
    ensure!(lines.iter().any(|line| line["status"] == "Layer already exists"), "{lines:?}");
    ensure!(lines.iter().any(|line| line["aux"]["Digest"] == digest.as_str()), "{lines:?}");
    said(lab, &format!("/images/{name}/push?tag=none")).map(drop)
}

fn inspect_from_afar(lab: &mut Lab) -> Result<()> {
    let (name, _, digest) = pushed(lab, "afar")?;
    let seen = lab.get(&format!("/distribution/{name}:1/json")).header(NOBODY).expect(200)?.json()?;
    ensure!(seen["Descriptor"]["digest"] == digest.as_str(), "{seen}");
    lab.get(&format!("/distribution/{name}:none/json")).header(NOBODY).expect(404).map(drop)
}

fn login(lab: &mut Lab) -> Result<()> {
    let body = serde_json::json!({ "username": "u", "password": "p", "serveraddress": format!("http://{ADDRESS}") });
    let reply = lab.post("/auth").json(&body).expect(200)?;
    ensure!(reply.text().contains("Login Succeeded"), "{}", reply.text());
    Ok(())
}
