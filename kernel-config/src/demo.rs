//! The demo image, `lighter/demo:latest`: FROM scratch, one static program, in the format of `docker save`. The agent loads
//! it into an empty engine, so that the first `docker run` needs no registry. Called by `rootfs`.

use serde_json::json;

use crate::{
    archive::{self, Entry, Kind},
    digest,
};

/// Name and tag of the image.
pub const REFERENCE: &str = "lighter/demo:latest";

/// The image as an archive for `docker load`; `architecture` as OCI names it. `None` if the program cannot be packed.
pub fn image(program: Vec<u8>, architecture: &str) -> Option<Vec<u8>> {
    let program = Entry { path: "lighter-demo".to_owned(), mode: 0o755, kind: Kind::File(program) };
    let layer = archive::write(&[program])?;
    let created = "2026-01-01T00:00:00Z";
    let config = json!({
        "architecture": architecture,
        "os": "linux",
        "created": created,
        "config": { "Entrypoint": ["/lighter-demo"], "WorkingDir": "/" },
        "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{}", digest::of_bytes(&layer))] },
        "history": [{ "created": created, "created_by": "lighter" }],
    })
    .to_string()
    .into_bytes();
    let config_name = format!("{}.json", digest::of_bytes(&config));
    let manifest = json!([{ "Config": config_name, "RepoTags": [REFERENCE], "Layers": ["layer.tar"] }]);
    let file = |path: &str, content| Entry { path: path.to_owned(), mode: 0o644, kind: Kind::File(content) };
    archive::write(&[
        file(&config_name, config),
        file("layer.tar", layer),
        file("manifest.json", manifest.to_string().into_bytes()),
    ])
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn names_inside_are_the_digests_of_what_they_name() {
        let entries = archive::read(&image(b"program".to_vec(), "amd64").unwrap()).unwrap();
        let content = |path: &str| match &entries.iter().find(|entry| entry.path == path).unwrap().kind {
            Kind::File(content) => content.clone(),
            other => panic!("{other:?}"),
        };
        let manifest: Value = serde_json::from_slice(&content("manifest.json")).unwrap();
        let config_name = manifest[0]["Config"].as_str().unwrap();
        let config = content(config_name);
        assert_eq!(config_name, format!("{}.json", digest::of_bytes(&config)));
        let config: Value = serde_json::from_slice(&config).unwrap();
        assert_eq!(config["rootfs"]["diff_ids"][0], format!("sha256:{}", digest::of_bytes(&content("layer.tar"))));
        assert_eq!(manifest[0]["RepoTags"][0], REFERENCE);
        let layer = archive::read(&content("layer.tar")).unwrap();
        assert_eq!((layer[0].path.as_str(), layer[0].mode), ("lighter-demo", 0o755));
    }

    #[test]
    fn image_is_reproducible() {
        assert_eq!(image(vec![1; 1000], "amd64"), image(vec![1; 1000], "amd64"));
    }
}
