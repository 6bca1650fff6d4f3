//! Builds: the classic builder with its inputs and errors, a build whose client leaves, and BuildKit behind its two upgrades.

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use crate::ask::{Show, escaped};
use crate::case::cases;
use crate::http2;
use crate::lab::{Lab, filters};
use crate::tar::{self, Tar};

cases! { "build":
    from_scratch, gzip_context, build_args_and_target, labels_and_options, run_steps, dockerfile_of_another_name, dockerfile_missing,
    dockerfile_malformed, unknown_instruction, base_missing, remote_against_nothing, context_is_rubbish, copy_of_nothing, bad_tag,
    failing_run, client_leaves_in_the_middle, quiet_says_only_the_id, dockerfile_as_remote_body, buildkit_without_a_session,
    session_speaks_http_2, grpc_answers,
}

const TAR: &str = "application/x-tar";

/// A context with one Dockerfile and a file.
fn context(dockerfile: &str) -> Vec<u8> {
    Tar::default().file("Dockerfile", 0o644, dockerfile.as_bytes()).file("payload", 0o644, b"carried\n").finish()
}

/// Builds, with everything that the builder says in the transcript.
fn build(lab: &mut Lab, query: &str, context: Vec<u8>, status: u16) -> Result<Vec<Value>> {
    lab.post(&format!("/build?{query}")).body(TAR, context).expect(status)?.json_lines()
}

/// Insists on an error in the builder's talk.
fn fails(said: &[Value], words: &str) -> Result<()> {
    let error = said.iter().find_map(|line| line["error"].as_str()).context("the build did not fail")?;
    ensure!(error.contains(words), "the build failed with {error:?}");
    Ok(())
}

fn from_scratch(lab: &mut Lab) -> Result<()> {
    lab.later("DELETE", "/images/cf/scratch:1");
    build(lab, "t=cf/scratch:1", context("FROM scratch\nCOPY payload /p\nCMD [\"/p\"]\n"), 200)?;
    let image = lab.get("/images/cf/scratch:1/json").expect(200)?.json()?;
    ensure!(image["Config"]["Cmd"] == json!(["/p"]), "{image}");
    lab.get("/images/cf/scratch:1/history").expect(200).map(drop)
}

fn gzip_context(lab: &mut Lab) -> Result<()> {
    lab.later("DELETE", "/images/cf/zipped:1");
    let packed = tar::gzip(&context("FROM scratch\nCOPY payload /zipped\n"));
    lab.post("/build?t=cf/zipped:1").body("application/gzip", packed).chunked().expect(200).map(drop)
}

fn build_args_and_target(lab: &mut Lab) -> Result<()> {
    lab.later("DELETE", "/images/cf/target:1");
    let file = "FROM scratch AS one\nARG WORD=none\nLABEL word=$WORD\nFROM one AS two\nLABEL stage=two\nFROM two\nLABEL stage=three\n";
    let arguments = escaped(&json!({ "WORD": "argued", "UNUSED": "1" }).to_string());
    build(lab, &format!("t=cf/target:1&target=two&buildargs={arguments}"), context(file), 200)?;
    let image = lab.get("/images/cf/target:1/json").expect(200)?.json()?;
    ensure!(image["Config"]["Labels"] == json!({ "word": "argued", "stage": "two" }), "{image}");
    build(lab, "target=nowhere", context(file), 400).map(drop)
}

fn labels_and_options(lab: &mut Lab) -> Result<()> {
    lab.later("DELETE", "/images/cf/labelled:1");
    lab.later("DELETE", "/images/cf/labelled:2");
    let labels = escaped(&json!({ "from": "query" }).to_string());
    let query = format!("t=cf/labelled:1&t=cf/labelled:2&labels={labels}&nocache=1&rm=1&forcerm=1&networkmode=none");
    build(lab, &query, context("FROM scratch\nCOPY payload /labelled\n"), 200)?;
    let image = lab.get("/images/cf/labelled:2/json").expect(200)?.json()?;
    ensure!(image["Config"]["Labels"]["from"] == "query", "{image}");
    build(lab, "buildargs=nonsense", context("FROM scratch\n"), 400).map(drop)
}

fn run_steps(lab: &mut Lab) -> Result<()> {
    lab.later("DELETE", "/images/cf/steps:1");
    let file = format!("FROM {}\nRUN echo said; echo written > /written\n", lab.image());
    build(lab, "t=cf/steps:1&nocache=1&rm=1&networkmode=none", context(&file), 200)?;
    lab.create("cf-steps", &json!({ "Image": "cf/steps:1", "Cmd": ["true"] }))?;
    let archive = lab.quiet("GET", "/containers/cf-steps/archive?path=/written", None, 200)?;
    ensure!(tar::entries(&archive.body)?[0].data == b"written\n", "the step wrote something else");
    Ok(())
}

fn dockerfile_of_another_name(lab: &mut Lab) -> Result<()> {
    lab.later("DELETE", "/images/cf/named:1");
    let archive = Tar::default().folder("sub/", 0o755).file("sub/Build", 0o644, b"FROM scratch\nLABEL a=b\n").finish();
    build(lab, "t=cf/named:1&dockerfile=sub/Build", archive, 200).map(drop)
}

fn dockerfile_missing(lab: &mut Lab) -> Result<()> {
    build(lab, "dockerfile=nowhere", context("FROM scratch\n"), 500).map(drop)
}

fn dockerfile_malformed(lab: &mut Lab) -> Result<()> {
    build(lab, "", context("FROM scratch\nCOPY\n"), 400).map(drop)
}

fn unknown_instruction(lab: &mut Lab) -> Result<()> {
    build(lab, "", context("FROM scratch\nBREW tea\n"), 400).map(drop)
}

fn base_missing(lab: &mut Lab) -> Result<()> {
    let said = build(lab, "", context("FROM 127.0.0.1:9/cf/none:1\n"), 200)?;
    fails(&said, "connection refused")
}

fn remote_against_nothing(lab: &mut Lab) -> Result<()> {
    lab.post("/build?remote=http://127.0.0.1:9/Dockerfile").show(Show::Exact).expect(500).map(drop)
}

fn context_is_rubbish(lab: &mut Lab) -> Result<()> {
    lab.post("/build").body(TAR, vec![0x55; 100_000]).expect(500).map(drop)
}

fn copy_of_nothing(lab: &mut Lab) -> Result<()> {
    let said = build(lab, "", context("FROM scratch\nCOPY nothing /\n"), 200)?;
    fails(&said, "not")
}

fn bad_tag(lab: &mut Lab) -> Result<()> {
    build(lab, "t=UPPER", context("FROM scratch\nLABEL a=b\n"), 500).map(drop)
}

fn failing_run(lab: &mut Lab) -> Result<()> {
    let file = format!("FROM {}\nRUN exit 7\n", lab.image());
    let said = build(lab, "forcerm=1&networkmode=none", context(&file), 200)?;
    fails(&said, "returned a non-zero code: 7")
}

fn client_leaves_in_the_middle(lab: &mut Lab) -> Result<()> {
    let file = format!("FROM {}\nLABEL cf-left=1\nRUN echo begun; sleep 3000\n", lab.image());
    let label = filters(&json!({ "label": ["cf-left"] }));
    let listing = format!("/containers/json?all=1&{label}");
    let (_, mut wire) = lab.post("/build?forcerm=1&networkmode=none").body(TAR, context(&file)).open(200)?;
    let mut seen = Vec::new();
    while !seen.windows(5).any(|window| window == b"begun") {
        seen.extend(wire.chunk()?.context("the build ended")?);
    }
    drop(wire);
    // The builder kills the step and removes its container.
    for _ in 0..1000 {
        if lab.quiet("GET", &listing, None, 200)?.json()? == json!([]) {
            return lab.quiet("POST", &format!("/images/prune?{label}"), None, 200).map(drop);
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    bail!("the step of a build without a client goes on")
}

fn quiet_says_only_the_id(lab: &mut Lab) -> Result<()> {
    lab.later("DELETE", "/images/cf/hushed:1");
    let said = build(lab, "t=cf/hushed:1&q=1", context("FROM scratch\nLABEL a=hushed\n"), 200)?;
    ensure!(said.len() == 1, "{said:?}");
    Ok(())
}

fn dockerfile_as_remote_body(lab: &mut Lab) -> Result<()> {
    // Without a tar: dockerd takes a plain Dockerfile for a whole context.
    lab.post("/build").body("text/plain", b"FROM scratch\nLABEL a=plain\n".to_vec()).expect(500).map(drop)
}

fn buildkit_without_a_session(lab: &mut Lab) -> Result<()> {
    lab.later("DELETE", "/images/cf/kit:1");
    let archive = context("FROM scratch\nCOPY payload /kit\nLABEL built=kit\n");
    let said = lab.post("/build?version=2&t=cf/kit:1").body(TAR, archive).show(Show::Head).expect(200)?.json_lines()?;
    ensure!(!said.iter().any(|line| line.get("error").is_some()), "{said:?}");
    ensure!(said.iter().any(|line| line["id"] == "moby.image.id"), "no image among {said:?}");
    let image = lab.quiet("GET", "/images/cf/kit:1/json", None, 200)?.json()?;
    ensure!(image["Config"]["Labels"]["built"] == "kit", "{image}");
    lab.quiet("POST", "/build/prune?all=1", None, 200).map(drop)
}

fn session_speaks_http_2(lab: &mut Lab) -> Result<()> {
    let mut ask = lab.post("/session").header("Connection: Upgrade").header("Upgrade: h2c");
    for header in [
        "X-Docker-Expose-Session-Uuid: cfcfcfcfcfcfcfcfcfcfcfcfc",
        "X-Docker-Expose-Session-Name: cf",
        "X-Docker-Expose-Session-Sharedkey: cf",
        "X-Docker-Expose-Session-Grpc-Method: /grpc.health.v1.Health/Check",
    ] {
        ask = ask.header(header);
    }
    let (_, mut wire) = ask.open(101)?;
    // Here dockerd is the client.
    let preface = wire.exactly(http2::PREFACE.len())?;
    lab.note_bytes("preface", &preface);
    ensure!(preface == http2::PREFACE, "{:?}", preface.escape_ascii());
    let settings = http2::read(&mut wire)?;
    lab.note(&format!("< frame {} flags {} stream {}", settings.kind, settings.flags, settings.stream));
    ensure!(settings.kind == http2::SETTINGS, "{settings:?}");
    wire.send(&http2::frame(http2::SETTINGS, 0, 0, &[]))?;
    wire.send(&http2::frame(http2::PING, 0, 0, b"lighter!"))?;
    let pong = loop {
        let frame = http2::read_until(&mut wire, http2::PING)?;
        if frame.flags & http2::ACK_OR_END != 0 {
            break frame;
        }
    };
    ensure!(pong.payload == b"lighter!", "{pong:?}");
    Ok(())
}

fn grpc_answers(lab: &mut Lab) -> Result<()> {
    let (_, mut wire) = lab.post("/grpc").header("Connection: Upgrade").header("Upgrade: h2c").open(101)?;
    wire.send(&[http2::PREFACE, &http2::frame(http2::SETTINGS, 0, 0, &[])].concat())?;
    // An empty message to a method that is there, and to one that this BuildKit leaves out.
    let empty = [0; 5];
    wire.send(&http2::call(1, "/moby.buildkit.v1.Control/Info"))?;
    wire.send(&http2::frame(http2::DATA, http2::ACK_OR_END, 1, &empty))?;
    let data = http2::read_until(&mut wire, http2::DATA)?;
    lab.note_bytes("info", &data.payload);
    ensure!(String::from_utf8_lossy(&data.payload).contains("moby/buildkit"), "{:?}", data.payload.escape_ascii());
    let trailers = http2::read_until(&mut wire, http2::HEADERS)?;
    ensure!(trailers.stream == 1 && trailers.flags & http2::ACK_OR_END != 0, "{trailers:?}");
    wire.send(&http2::call(3, "/grpc.health.v1.Health/Check"))?;
    wire.send(&http2::frame(http2::DATA, http2::ACK_OR_END, 3, &empty))?;
    let mut headers = http2::read_until(&mut wire, http2::HEADERS)?;
    while headers.flags & http2::ACK_OR_END == 0 {
        lab.note(&format!("< frame {} flags {} stream {}", headers.kind, headers.flags, headers.stream));
        headers = http2::read_until(&mut wire, http2::HEADERS)?;
    }
    lab.note(&format!("< trailers {}", headers.payload.escape_ascii()));
    Ok(())
}
