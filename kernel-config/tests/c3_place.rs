//! C3 of the catalogue of bad input: which image a program boots, and what it says when there is none. Folders stand in for an
//! unpacked archive, an installed package and a developer's tree, so that the same cases run on every system.

#![allow(clippy::unwrap_used)] // a panic is how a test fails

use std::{
    fs,
    path::{Path, PathBuf},
};

use lighter_image::{
    Image, ImageError, cache,
    manifest::{self, Manifest, Part},
    place,
};

/// Puts an image into a folder of images and answers its name. `version` tells images apart.
fn image_in(images: &Path, version: &str) -> String {
    let part = |file: &str| Part { file: file.into(), version: version.into(), size: 0, sha256: "0".repeat(64) };
    let manifest = Manifest {
        schema: manifest::SCHEMA,
        architecture: std::env::consts::ARCH.into(),
        kernel: part("vmlinux"),
        root: part("root.erofs"),
        agent: part("agent"),
        demo: part("demo.tar"),
        compiler: "gcc".into(),
        fragments: Vec::new(),
        packages: Vec::new(),
    };
    let json = manifest.to_json();
    let name = manifest::image_name(&json);
    fs::create_dir_all(images.join(&name)).unwrap();
    fs::write(images.join(&name).join(manifest::FILE), json).unwrap();
    fs::write(cache::pointer_in(images), format!("{name}\n")).unwrap();
    name
}

struct Case {
    root: tempfile::TempDir,
}

impl Case {
    fn new() -> Self {
        Self { root: tempfile::tempdir().unwrap() }
    }

    fn at(&self, path: &str) -> PathBuf {
        path.split('/').fold(self.root.path().to_owned(), |path, part| path.join(part))
    }

    fn program(&self, path: &str) -> PathBuf {
        let program = self.at(path);
        fs::create_dir_all(program.parent().unwrap()).unwrap();
        fs::write(&program, "").unwrap();
        program
    }

    fn open(&self, program: &Path) -> Result<Image, ImageError> {
        place::open_for(Some(program), Some(&self.at("cache")))
    }
}

#[test]
fn an_unpacked_archive_has_its_image_beside_the_program() {
    let case = Case::new();
    let name = image_in(&case.at("lighter-1/image"), "1");
    assert_eq!(case.open(&case.program("lighter-1/lighter.exe")).unwrap().name(), name);
}

#[test]
fn an_installed_package_has_its_image_in_share() {
    let case = Case::new();
    let name = image_in(&case.at("usr/share/lighter/image"), "1");
    let image = case.open(&case.program("usr/bin/lighter")).unwrap();
    assert_eq!(image.name(), name);
    assert!(image.dir().ends_with(Path::new("usr/share/lighter/image").join(&name)), "{}", image.dir().display());
}

#[test]
fn a_packaged_image_comes_before_the_cache_and_the_nearer_one_first() {
    let case = Case::new();
    image_in(&case.at("cache/images"), "cache");
    let shared = image_in(&case.at("usr/share/lighter/image"), "shared");
    let program = case.program("usr/bin/lighter");
    assert_eq!(case.open(&program).unwrap().name(), shared);
    let beside = image_in(&case.at("usr/bin/image"), "beside");
    assert_eq!(case.open(&program).unwrap().name(), beside);
}

#[test]
fn a_developers_program_boots_what_the_cache_has() {
    let case = Case::new();
    let name = image_in(&case.at("cache/images"), "cache");
    // A folder that is called `image` for another reason, and a file of that name.
    fs::create_dir_all(case.at("tree/target/release/image")).unwrap();
    case.program("usr/local/bin/image");
    for program in ["tree/target/release/lighter", "usr/local/bin/lighter"] {
        assert_eq!(case.open(&case.program(program)).unwrap().name(), name);
    }
    assert_eq!(place::open_for(None, Some(&case.at("cache"))).unwrap().name(), name);
}

#[test]
fn c3_a_damaged_packaged_image_is_not_replaced_by_the_caches() {
    let case = Case::new();
    image_in(&case.at("cache/images"), "cache");
    let name = image_in(&case.at("lighter-1/image"), "1");
    let program = case.program("lighter-1/lighter");
    fs::remove_file(case.at("lighter-1/image").join(&name).join(manifest::FILE)).unwrap();
    assert!(matches!(case.open(&program), Err(ImageError::Missing { .. })));
    fs::write(cache::pointer_in(&case.at("lighter-1/image")), "../../elsewhere").unwrap();
    assert!(matches!(case.open(&program), Err(ImageError::BadPointer { .. })));
}

#[test]
fn c3_without_any_image_the_error_says_where_it_looked_and_both_cures() {
    let case = Case::new();
    let program = case.program("usr/bin/lighter");
    let text = case.open(&program).unwrap_err().to_string();
    let (bin, cache) = (Path::new("usr").join("bin"), case.at("cache"));
    assert!(text.contains(&*bin.to_string_lossy()) && text.contains(&*cache.to_string_lossy()), "{text}");
    assert!(text.contains("Install lighter again") && text.contains("`cargo xtask image`"), "{text}");
    let text = place::open_for(None, None).unwrap_err().to_string();
    assert!(text.starts_with("There is no guest image ") && text.contains("Install lighter again"), "{text}");
}

/// Where making a link needs no rights.
#[cfg(unix)]
#[test]
fn a_link_to_the_program_leads_to_the_programs_image() {
    let case = Case::new();
    let name = image_in(&case.at("opt/lighter-1/image"), "1");
    // The link's own folder has an image too, of another program.
    image_in(&case.at("home/share/lighter/image"), "other");
    let link = case.at("home/bin/lighter");
    fs::create_dir_all(link.parent().unwrap()).unwrap();
    std::os::unix::fs::symlink(case.program("opt/lighter-1/lighter"), &link).unwrap();
    assert_eq!(case.open(&link).unwrap().name(), name);
}

#[test]
fn a_program_that_was_removed_while_it_ran_keeps_its_image() {
    let case = Case::new();
    let name = image_in(&case.at("usr/share/lighter/image"), "1");
    let program = case.program("usr/bin/lighter");
    fs::remove_file(&program).unwrap();
    assert_eq!(case.open(&program).unwrap().name(), name);
}
