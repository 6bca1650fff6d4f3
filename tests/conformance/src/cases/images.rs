//! Images without a registry: import, tag, inspect, history, list, commit, save, load, prune, and what pull, push and search say
//! when there is nobody to ask.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::ask::Show;
use crate::case::cases;
use crate::lab::{Lab, filters};
use crate::tar::{self, Tar};

cases! { "images":
    import_inspect_remove, import_with_changes, import_rubbish, import_from_a_dead_address, tag_and_untag, remove_with_two_tags,
    remove_while_in_use, history, list_and_filters, commit_with_changes, save_and_load, save_several, load_quietly, load_rubbish,
    pull_against_nothing, pull_bad_reference, push_against_nothing, search_without_a_network, search_bad_limit,
    distribution_against_nothing, prune, inspect_by_id_and_prefix, get_of_one_without_a_tag,
}

const TAR: &str = "application/x-tar";

/// A registry on a port where nobody listens.
const NOWHERE: &str = "127.0.0.1:9/cf/image";

/// Imports a tiny image that goes away with the case; not recorded. `word` makes its content its own.
pub fn make(lab: &mut Lab, name: &str, word: &str) -> Result<String> {
    let archive = Tar::default().file("word", 0o644, word.as_bytes()).finish();
    lab.later("DELETE", format!("/images/{name}:1?force=1"));
    let mut wire = lab.connect()?;
    let path = crate::ask::versioned(&format!("/images/create?fromSrc=-&repo={name}&tag=1"));
    let head = format!("POST {path} HTTP/1.1\r\nHost: docker\r\nContent-Length: {}\r\n\r\n", archive.len());
    wire.send(&[head.as_bytes(), &archive].concat())?;
    let reply = crate::reply::Reply::read(&mut wire, "POST")?;
    let last = reply.json_lines()?.pop().context("import said nothing")?;
    Ok(last["status"].as_str().context("import gave no id")?.to_owned())
}

fn import_inspect_remove(lab: &mut Lab) -> Result<()> {
    let archive = Tar::default().file("word", 0o644, b"imported").finish();
    lab.later("DELETE", "/images/cf/import:1");
    lab.post("/images/create?fromSrc=-&repo=cf/import&tag=1&message=by%20hand").body(TAR, archive).expect(200)?;
    lab.get("/images/cf/import:1/json").expect(200)?;
    lab.get("/v1.24/images/cf/import:1/json").expect(200)?;
    lab.delete("/images/cf/import:1").expect(200)?;
    lab.get("/images/cf/import:1/json").expect(404).map(drop)
}

fn import_with_changes(lab: &mut Lab) -> Result<()> {
    let archive = Tar::default().file("word", 0o644, b"changed").finish();
    lab.later("DELETE", "/images/cf/changes:1");
    let path = "/images/create?fromSrc=-&repo=cf/changes&tag=1&changes=CMD%20%5B%22%2Fx%22%5D&changes=ENV%20A%3Db&changes=LABEL%20l%3Dm";
    lab.post(path).body(TAR, archive).expect(200)?;
    let image = lab.get("/images/cf/changes:1/json").expect(200)?.json()?;
    ensure!(image["Config"]["Cmd"] == json!(["/x"]) && image["Config"]["Labels"]["l"] == "m", "{image}");
    lab.post("/images/create?fromSrc=-&repo=cf/bad&changes=RUN%20true")
        .body(TAR, Tar::default().finish())
        .expect(400)
        .map(drop)
}

fn import_rubbish(lab: &mut Lab) -> Result<()> {
    lab.post("/images/create?fromSrc=-&repo=cf/rubbish").body(TAR, vec![0x55; 200_000]).expect(500).map(drop)
}

fn import_from_a_dead_address(lab: &mut Lab) -> Result<()> {
    lab.post("/images/create?fromSrc=http://127.0.0.1:9/x.tar&repo=cf/dead").expect(500).map(drop)
}

fn tag_and_untag(lab: &mut Lab) -> Result<()> {
    make(lab, "cf/tagged", "tagged")?;
    lab.later("DELETE", "/images/cf/other:2");
    lab.post("/images/cf/tagged:1/tag?repo=cf/other&tag=2").expect(201)?;
    lab.get("/images/cf/other:2/json").expect(200)?;
    lab.delete("/images/cf/other:2").expect(200)?;
    lab.get("/images/cf/tagged:1/json").show(Show::Head).expect(200).map(drop)
}

fn remove_with_two_tags(lab: &mut Lab) -> Result<()> {
    let id = make(lab, "cf/twins", "twins")?;
    lab.quiet("POST", "/images/cf/twins:1/tag?repo=cf/twins&tag=2", None, 201)?;
    lab.later("DELETE", "/images/cf/twins:2");
    lab.delete(&format!("/images/{id}")).expect(409)?;
    lab.delete(&format!("/images/{id}?force=1")).expect(200)?;
    lab.get("/images/cf/twins:2/json").expect(404).map(drop)
}

fn remove_while_in_use(lab: &mut Lab) -> Result<()> {
    make(lab, "cf/used", "used")?;
    lab.create("cf-user", &json!({ "Image": "cf/used:1", "Cmd": ["/none"] }))?;
    lab.delete("/images/cf/used:1").expect(409)?;
    // By force only the name goes; the container keeps what it is made of.
    lab.delete("/images/cf/used:1?force=1&noprune=1").expect(200)?;
    lab.get("/containers/cf-user/json").show(Show::Head).expect(200).map(drop)
}

fn history(lab: &mut Lab) -> Result<()> {
    make(lab, "cf/history", "history")?;
    lab.get("/images/cf/history:1/history").expect(200).map(drop)
}

fn list_and_filters(lab: &mut Lab) -> Result<()> {
    make(lab, "cf/listed", "listed")?;
    for wanted in [
        json!({ "reference": ["cf/listed"] }),
        json!({ "reference": ["cf/listed:*"], "dangling": ["false"] }),
        json!({ "reference": ["cf/none"] }),
        json!({ "reference": ["cf/listed"], "label": ["no"] }),
    ] {
        lab.get(&format!("/images/json?{}", filters(&wanted))).expect(200)?;
    }
    let wanted = filters(&json!({ "reference": ["cf/listed"] }));
    lab.get(&format!("/images/json?shared-size=1&digests=1&{wanted}")).expect(200)?;
    lab.get(&format!("/v1.24/images/json?filter=cf/listed&{wanted}")).expect(200)?;
    lab.get(&format!("/images/json?{}", filters(&json!({ "before": ["cf/none"] })))).expect(404)?;
    lab.get(&format!("/images/json?{}", filters(&json!({ "dangling": ["perhaps"] })))).expect(400).map(drop)
}

fn commit_with_changes(lab: &mut Lab) -> Result<()> {
    make(lab, "cf/base", "base")?;
    lab.create("cf-commit", &json!({ "Image": "cf/base:1", "Cmd": ["/none"], "Env": ["KEPT=1"] }))?;
    let archive = Tar::default().file("added", 0o600, b"by hand").finish();
    lab.ask("PUT", "/containers/cf-commit/archive?path=/").body(TAR, archive).expect(200)?;
    lab.later("DELETE", "/images/cf/committed:1");
    let path =
        "/commit?container=cf-commit&repo=cf/committed&tag=1&author=me&comment=why&changes=WORKDIR%20%2Fdeep&pause=0";
    lab.post(path).json(&json!({ "Labels": { "cf": "commit" } })).expect(201)?;
    let image = lab.get("/images/cf/committed:1/json").expect(200)?.json()?;
    ensure!(image["Config"]["WorkingDir"] == "/deep" && image["Author"] == "me", "{image}");
    lab.get("/images/cf/committed:1/history").expect(200)?;
    lab.post("/commit?container=cf-commit&repo=UPPER").expect(400)?;
    lab.post("/commit?container=cf-commit&changes=RUN%20true").expect(400).map(drop)
}

/// Saves images and removes them; the archive.
fn saved(lab: &mut Lab, path: &str, names: &[&str]) -> Result<Vec<u8>> {
    let reply = lab.get(path).show(Show::Head).expect(200)?;
    for line in tar::listing(&reply.body)? {
        // Sizes of metadata depend on how dates are written.
        if line.starts_with("0 ") && !line.ends_with(".json") && !line.contains("blobs/") {
            lab.note(&format!("< {line}"));
        }
    }
    for name in names {
        lab.delete(&format!("/images/{name}")).expect(200)?;
    }
    Ok(reply.body)
}

fn save_and_load(lab: &mut Lab) -> Result<()> {
    let id = make(lab, "cf/saved", "saved")?;
    let archive = saved(lab, "/images/cf/saved:1/get", &["cf/saved:1"])?;
    let manifest =
        tar::entries(&archive)?.into_iter().find(|entry| entry.name == "manifest.json").context("no manifest")?;
    let manifest: Value = serde_json::from_slice(&manifest.data)?;
    lab.note(&format!("< {manifest}"));
    ensure!(manifest[0]["RepoTags"] == json!(["cf/saved:1"]), "{manifest}");
    let reply = lab.post("/images/load").body(TAR, archive).show(Show::Head).expect(200)?;
    let said = reply.json_lines()?.pop().context("load said nothing")?;
    lab.note(&format!("< {said}"));
    let again = lab.quiet("GET", "/images/cf/saved:1/json", None, 200)?.json()?;
    ensure!(again["Id"] == id.as_str(), "another image came back: {again}");
    Ok(())
}

fn save_several(lab: &mut Lab) -> Result<()> {
    make(lab, "cf/pair-a", "pair a")?;
    make(lab, "cf/pair-b", "pair b")?;
    let archive = saved(lab, "/images/get?names=cf/pair-a:1&names=cf/pair-b:1", &["cf/pair-a:1", "cf/pair-b:1"])?;
    lab.post("/images/load").body(TAR, tar::gzip(&archive)).show(Show::Head).expect(200)?;
    lab.get("/images/cf/pair-a:1/json").show(Show::Head).expect(200)?;
    lab.get("/images/cf/pair-b:1/json").show(Show::Head).expect(200).map(drop)
}

fn load_quietly(lab: &mut Lab) -> Result<()> {
    make(lab, "cf/quiet", "quiet")?;
    let archive = saved(lab, "/images/cf/quiet:1/get", &["cf/quiet:1"])?;
    lab.post("/images/load?quiet=1").body(TAR, archive).chunked().expect(200)?;
    lab.get("/images/cf/quiet:1/json").show(Show::Head).expect(200).map(drop)
}

fn load_rubbish(lab: &mut Lab) -> Result<()> {
    lab.post("/images/load?quiet=1").body(TAR, vec![0x55; 300_000]).expect(200).map(drop)
}

fn pull_against_nothing(lab: &mut Lab) -> Result<()> {
    lab.post(&format!("/images/create?fromImage={NOWHERE}&tag=1")).expect(500).map(drop)
}

fn pull_bad_reference(lab: &mut Lab) -> Result<()> {
    lab.post("/images/create?fromImage=UPPER&tag=1").expect(400)?;
    lab.post("/images/create?fromImage=cf/x&tag=b@d").expect(400).map(drop)
}

fn push_against_nothing(lab: &mut Lab) -> Result<()> {
    make(lab, "cf/pushed", "pushed")?;
    lab.later("DELETE", format!("/images/{NOWHERE}:1"));
    lab.quiet("POST", &format!("/images/cf/pushed:1/tag?repo={NOWHERE}&tag=1"), None, 201)?;
    // `{}` in base64: no credentials. The retries show as progress, and how much of it is a matter of time.
    let ask = lab.post(&format!("/images/{NOWHERE}/push?tag=1")).header("X-Registry-Auth: e30=").show(Show::Head);
    let said = ask.expect(200)?.json_lines()?;
    let error = said.iter().find(|line| line.get("error").is_some()).context("push did not fail")?;
    lab.note(&format!("< {error}"));
    ensure!(error["error"].as_str().is_some_and(|text| text.contains("connection refused")), "{error}");
    Ok(())
}

fn search_without_a_network(lab: &mut Lab) -> Result<()> {
    lab.get("/images/search?term=127.0.0.1:9/cf").expect(400).map(drop)
}

fn search_bad_limit(lab: &mut Lab) -> Result<()> {
    lab.get("/images/search?term=x&limit=many").expect(400)?;
    lab.get("/images/search?term=x&limit=1000").expect(400).map(drop)
}

fn distribution_against_nothing(lab: &mut Lab) -> Result<()> {
    lab.get(&format!("/distribution/{NOWHERE}:1/json")).expect(500).map(drop)
}

fn prune(lab: &mut Lab) -> Result<()> {
    let archive = Tar::default().file("word", 0o644, b"pruned").finish();
    lab.post("/images/create?fromSrc=-&changes=LABEL%20cf-prune%3D1").body(TAR, archive).expect(200)?;
    let pruned =
        lab.post(&format!("/images/prune?{}", filters(&json!({ "label": ["cf-prune"] })))).expect(200)?.json()?;
    ensure!(pruned["ImagesDeleted"].as_array().is_some_and(|list| !list.is_empty()), "{pruned}");
    lab.post(&format!("/images/prune?{}", filters(&json!({ "colour": ["red"] })))).expect(400).map(drop)
}

fn inspect_by_id_and_prefix(lab: &mut Lab) -> Result<()> {
    let id = make(lab, "cf/known", "known")?;
    lab.get(&format!("/images/{id}/json")).expect(200)?;
    let short = id.trim_start_matches("sha256:").get(..12).context("an id")?.to_owned();
    lab.get(&format!("/images/{short}/json")).expect(200).map(drop)
}

fn get_of_one_without_a_tag(lab: &mut Lab) -> Result<()> {
    let id = make(lab, "cf/bare", "bare")?;
    lab.quiet("GET", &format!("/images/{id}/json"), None, 200)?;
    let archive = lab.get(&format!("/images/{id}/get")).show(Show::Head).expect(200)?.body;
    let manifest =
        tar::entries(&archive)?.into_iter().find(|entry| entry.name == "manifest.json").context("no manifest")?;
    lab.note_bytes("manifest", &manifest.data);
    Ok(())
}
