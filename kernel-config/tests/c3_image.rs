//! C3 of the catalogue of bad input: what can be wrong with an image on disk. Each case must end in an error that names the
//! file and the cure, and none may hang. Protects the check that precedes every boot.

#![allow(clippy::unwrap_used)] // a panic is how a test fails

use std::{
    fs,
    path::{Path, PathBuf},
    sync::mpsc,
    thread,
    time::Duration,
};

use lighter_image::{
    ImageError, cache,
    manifest::{self, Manifest, Part},
    place,
};
use sha2::{Digest, Sha256};

/// A check takes milliseconds; one that hangs is to fail by name.
const PROMPT: Duration = Duration::from_secs(10);
const FILES: [&str; 3] = ["vmlinux", "root.erofs", "agent"];

fn part(file: &str, content: &[u8]) -> Part {
    let sha256 = Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect();
    Part { file: file.into(), version: "1".into(), size: content.len() as u64, sha256 }
}

fn sample() -> Manifest {
    let [kernel, root, agent] = FILES.map(|file| part(file, file.repeat(1000).as_bytes()));
    Manifest {
        schema: manifest::SCHEMA,
        architecture: std::env::consts::ARCH.into(),
        kernel,
        root,
        agent,
        demo: part("demo.tar", b""),
        compiler: "gcc".into(),
        fragments: vec![part("base.config", b"")],
        packages: vec![manifest::Package {
            name: "runc".into(),
            version: "1:1.1-1".into(),
            architecture: "amd64".into(),
            size: 1,
            sha256: "0".repeat(64),
        }],
    }
}

/// A cache with one sound image that is current; a case then breaks it.
struct Case {
    cache: tempfile::TempDir,
    dir: PathBuf,
}

impl Case {
    fn new() -> Self {
        Self::with(&sample())
    }

    fn with(manifest: &Manifest) -> Self {
        Self::with_json(&manifest.to_json())
    }

    fn with_json(json: &[u8]) -> Self {
        let cache = tempfile::tempdir().unwrap();
        let name = manifest::image_name(json);
        let dir = cache::images_dir(cache.path()).join(&name);
        fs::create_dir_all(&dir).unwrap();
        for file in FILES {
            fs::write(dir.join(file), file.repeat(1000)).unwrap();
        }
        fs::write(dir.join(manifest::FILE), json).unwrap();
        cache::set_current(cache.path(), &name).unwrap();
        Self { cache, dir }
    }

    /// What the check says, which must not keep anybody waiting.
    fn check(&self) -> Result<(), ImageError> {
        let cache = self.cache.path().to_owned();
        let (done, checked) = mpsc::channel();
        thread::spawn(move || done.send(place::open_for(None, Some(&cache)).and_then(|image| image.verify())));
        checked.recv_timeout(PROMPT).expect("the check ends within 10 s")
    }

    fn replace(&self, file: &str, with: impl FnOnce(&Path)) {
        fs::remove_file(self.dir.join(file)).unwrap();
        with(&self.dir.join(file));
    }

    /// The error, which must name `file` and a cure.
    fn error(&self, file: &str) -> ImageError {
        let error = self.check().unwrap_err();
        let text = error.to_string();
        assert!(text.contains(file), "{text}");
        assert!(text.contains("cargo xtask image") || text.contains("permissions"), "{text}");
        error
    }
}

#[test]
fn sound_image_is_accepted_and_knows_its_files() {
    let case = Case::new();
    case.check().unwrap();
    let image = place::open_for(None, Some(case.cache.path())).unwrap();
    assert_eq!(image.manifest(), &sample());
    assert_eq!([image.kernel(), image.root(), image.agent()], FILES.map(|file| case.dir.join(file)));
    assert_eq!(image.dir().file_name().unwrap().to_str(), Some(image.name()));
}

#[test]
fn c3_no_image_at_all() {
    let cache = tempfile::tempdir().unwrap();
    let error = place::open_for(None, Some(cache.path())).unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, ImageError::NoImage { .. }), "{text}");
    assert!(text.contains("cargo xtask image") && text.contains("Install lighter again"), "{text}");
}

#[test]
fn c3_missing_file() {
    for file in FILES.into_iter().chain([manifest::FILE]) {
        let case = Case::new();
        case.replace(file, |_| ());
        assert!(matches!(case.error(file), ImageError::Missing { .. }), "{file}");
    }
}

#[test]
fn c3_directory_instead_of_file() {
    for file in FILES.into_iter().chain([manifest::FILE]) {
        let case = Case::new();
        case.replace(file, |path| fs::create_dir(path).unwrap());
        assert!(matches!(case.error(file), ImageError::NotAFile { .. }), "{file}");
    }
}

#[test]
fn c3_fifo_instead_of_file_does_not_hang() {
    for file in FILES.into_iter().chain([manifest::FILE]) {
        let case = Case::new();
        case.replace(file, |path| assert!(std::process::Command::new("mkfifo").arg(path).status().unwrap().success()));
        assert!(matches!(case.error(file), ImageError::NotAFile { .. }), "{file}");
    }
}

#[test]
fn c3_dangling_link_and_link_to_another_file() {
    let case = Case::new();
    case.replace("vmlinux", |path| std::os::unix::fs::symlink("nowhere", path).unwrap());
    assert!(matches!(case.error("vmlinux"), ImageError::Missing { .. }));
    let case = Case::new();
    case.replace("vmlinux", |path| std::os::unix::fs::symlink("agent", path).unwrap());
    assert!(matches!(case.error("vmlinux"), ImageError::WrongSize { .. }));
}

#[test]
fn c3_empty_truncated_and_grown_file() {
    for file in FILES {
        let whole = file.repeat(1000);
        for content in ["", &whole[1..], &(whole.clone() + "x")] {
            let case = Case::new();
            fs::write(case.dir.join(file), content).unwrap();
            assert!(matches!(case.error(file), ImageError::WrongSize { .. }), "{file}");
        }
    }
    let case = Case::new();
    fs::write(case.dir.join(manifest::FILE), "").unwrap();
    assert!(matches!(case.error(manifest::FILE), ImageError::NotAManifest { .. }));
}

#[test]
fn c3_one_flipped_bit_in_any_file() {
    for file in FILES {
        let case = Case::new();
        let mut content = fs::read(case.dir.join(file)).unwrap();
        *content.last_mut().unwrap() ^= 1;
        fs::write(case.dir.join(file), content).unwrap();
        let error = case.error(file);
        assert!(
            matches!(error, ImageError::WrongHash { .. }) && error.to_string().contains("the manifest says"),
            "{error}"
        );
    }
}

#[test]
fn c3_altered_manifest_is_noticed_by_the_image_s_name() {
    let case = Case::new();
    let mut manifest = sample();
    manifest.kernel.sha256 = "0".repeat(64);
    fs::write(case.dir.join(manifest::FILE), manifest.to_json()).unwrap();
    assert!(matches!(case.error(manifest::FILE), ImageError::ManifestAltered { .. }));
}

#[test]
fn c3_wrong_architecture_names_both() {
    let case = Case::with(&Manifest { architecture: "s390x".into(), ..sample() });
    let error = case.error("s390x");
    assert!(
        matches!(error, ImageError::WrongArchitecture { .. }) && error.to_string().contains(std::env::consts::ARCH)
    );
}

#[test]
fn c10_unknown_schema_is_told_from_damage() {
    // A newer manifest may have any other shape: only its schema can be relied on.
    let case = Case::with_json(br#"{"schema": 99, "everything": "else"}"#);
    assert!(matches!(case.error(manifest::FILE), ImageError::UnknownSchema { found: 99, .. }));
}

#[test]
fn c3_manifest_that_is_no_manifest() {
    for json in [&b"{"[..], b"[]", b"\xff\xfe", br#"{"schema": "1"}"#, br#"{"schema": 1}"#, br#"{"schema": -1}"#] {
        assert!(matches!(Case::with_json(json).error(manifest::FILE), ImageError::NotAManifest { .. }), "{json:?}");
    }
}

#[test]
fn c3_file_names_that_lead_out_of_the_image() {
    for file in ["../vmlinux", "/etc/passwd", "a/b", "", "..", "C:\\x", ".hidden"] {
        let mut manifest = sample();
        manifest.kernel.file = file.into();
        assert!(matches!(Case::with(&manifest).error(manifest::FILE), ImageError::BadFileName { .. }), "{file}");
    }
}

#[test]
fn c3_pointer_that_names_no_image() {
    for content in ["", "../../etc", "xyz", &"A".repeat(32), &"0".repeat(33)] {
        let case = Case::new();
        fs::write(cache::current_file(case.cache.path()), content).unwrap();
        assert!(matches!(case.error("current"), ImageError::BadPointer { .. }), "{content:?}");
    }
    let case = Case::new();
    fs::write(cache::current_file(case.cache.path()), "0".repeat(32)).unwrap();
    assert!(matches!(case.error(manifest::FILE), ImageError::Missing { .. }));
}

#[test]
fn c3_no_read_permission() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    // Announced as empty, for the stand-in below to have the announced size.
    let [kernel, root, agent] = FILES.map(|file| part(file, b""));
    let manifest = Manifest { kernel, root, agent, ..sample() };
    for file in FILES.into_iter().chain([manifest::FILE]) {
        let case = Case::with(&manifest);
        FILES.iter().for_each(|file| fs::write(case.dir.join(file), "").unwrap());
        let path = case.dir.join(file);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).unwrap();
        if fs::File::open(&path).is_ok() {
            // Root may open everything: a regular file that cannot be read at its beginning stands in for it.
            case.replace(file, |path| symlink("/proc/self/mem", path).unwrap());
        }
        assert!(matches!(case.error(file), ImageError::Unreadable { .. }), "{file}");
    }
}

#[test]
fn manifest_survives_the_round_trip_and_its_name_follows_its_bytes() {
    let json = sample().to_json();
    assert_eq!(serde_json::from_slice::<Manifest>(&json).unwrap(), sample());
    let other = Manifest { compiler: "gcc 2".into(), ..sample() }.to_json();
    assert_ne!(manifest::image_name(&json), manifest::image_name(&other));
    assert!(cache::is_image_name(&manifest::image_name(&json)));
}
