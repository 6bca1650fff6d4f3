//! Builds a guest image, or finds that the cache has it already. Order of work:
//!
//! versions (remembered or looked up) → kernel (kept or compiled) → root (kept or packed) → image directory → `current`
//!
//! Each arrow is content-addressed: a change of the agent repeats the last two only. Called by xtask.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use crate::{
    apt::{Apt, Candidate},
    architecture::Architecture,
    artifact::{self, Artifact, Slot},
    assemble, cache, demo, digest, elf,
    error::BuildError,
    fragments::{self, Fragment},
    hold, host,
    image::Image,
    kernel::{self, KernelBuild},
    manifest::{self, Manifest, Part},
    packages::Packages,
    progress::{self, Progress},
    recipe::{self, Wanted},
    rootfs::{self, Source},
};

/// Room for the kernel's source and objects, in megabytes.
const KERNEL_SPACE_MB: u64 = 3000;
/// Room for packages, tool and the root in two forms.
const ROOT_SPACE_MB: u64 = 1000;

/// What to build, and where.
#[derive(Debug, Clone)]
pub struct BuildOptions {
    /// The cache directory; see [`cache::default_dir`].
    pub cache: PathBuf,
    /// The guest agent, a static executable.
    pub agent: PathBuf,
    /// The demo's program, a static executable.
    pub demo: PathBuf,
    /// Look the newest versions of the packages up, although some are known.
    pub refresh: bool,
}

/// Builds what the cache does not have and makes the image current. With everything cached it needs neither network nor
/// compiler time.
pub fn build(options: &BuildOptions, progress: &mut dyn Progress) -> Result<Image, BuildError> {
    let agent = static_program(&options.agent, of_host()?)?;
    let (mut build, _lock) = Build::locked(options, progress)?;
    let kernel = build.kernel(Variant::Guest, progress)?;
    let root = build.root(progress)?;
    // After both: a missing download may have made either look newer versions up.
    let kernel = match build.kernel_slot(Variant::Guest)?.kept() {
        Some(kept) if kept == kernel => kernel,
        _ => build.kernel(Variant::Guest, progress)?,
    };
    build.apt.keep_only(build.packages.all())?;
    let manifest = build.manifest(&kernel, &root, &agent)?;
    assemble::image(&options.cache, &manifest, &agent, [&kernel, &root], progress)
}

/// The kernel of benches, built unless the cache has it: the guest's, and what lighter is compared with.
pub fn bench_kernel(options: &BuildOptions, progress: &mut dyn Progress) -> Result<PathBuf, BuildError> {
    let (mut build, _lock) = Build::locked(options, progress)?;
    Ok(build.kernel(Variant::Bench, progress)?.path)
}

/// Which kernel.
#[derive(Debug, Clone, Copy)]
enum Variant {
    Guest,
    Bench,
}

impl Variant {
    fn fragments(self, architecture: &Architecture) -> Vec<Fragment> {
        let mut fragments = fragments::of(architecture.name);
        if let Self::Bench = self {
            fragments.push(fragments::BENCH);
        }
        fragments
    }

    /// What its results are called in the cache.
    fn kind(self) -> &'static str {
        match self {
            Self::Guest => "kernel",
            Self::Bench => "bench-kernel",
        }
    }
}

fn of_host() -> Result<&'static Architecture, BuildError> {
    Architecture::of_host().ok_or(BuildError::UnsupportedHost { host: std::env::consts::ARCH })
}

/// A build under the cache's lock.
struct Build<'a> {
    architecture: &'a Architecture,
    builds: PathBuf,
    recipe: Vec<Wanted>,
    compiler: String,
    packages: Packages,
    apt: Apt,
    demo: Vec<u8>,
}

impl Build<'_> {
    /// With the versions of all packages known, and nobody else at work in the cache for as long as the lock is held.
    fn locked(options: &BuildOptions, progress: &mut dyn Progress) -> Result<(Self, std::fs::File), BuildError> {
        let architecture = of_host()?;
        hold::check_path(&options.cache)?;
        let demo = static_program(&options.demo, architecture)?;
        host::check_tools()?;
        let builds = options.cache.join("builds");
        let images = cache::images_dir(&options.cache);
        for dir in [&builds, &images] {
            fs::create_dir_all(dir).map_err(BuildError::io("create", dir))?;
        }
        let lock = hold::lock(&builds, progress)?;
        artifact::sweep(&builds)?;
        artifact::sweep(&images)?;
        let mut build = Build::new(architecture, builds, demo)?;
        if options.refresh || !build.packages.is_known() {
            build.look_up(progress)?;
        }
        Ok((build, lock))
    }
}

impl<'a> Build<'a> {
    fn new(architecture: &'a Architecture, builds: PathBuf, program: Vec<u8>) -> Result<Self, BuildError> {
        let recipe = recipe::packages(architecture.triplet)?;
        let names: BTreeSet<_> = recipe.iter().map(|wanted| wanted.package.as_str()).chain([kernel::PACKAGE]).collect();
        let packages = Packages::remembered(&builds, names, architecture.debian);
        let apt = Apt::new(&builds.join("apt"), architecture.debian)?;
        let malformed = || BuildError::Malformed { name: "the demo image".into(), problem: "a name in it is too long" };
        let demo = demo::image(program, architecture.oci).ok_or_else(malformed)?;
        Ok(Self { architecture, builds, recipe, compiler: kernel::compiler()?, packages, apt, demo })
    }

    fn look_up(&mut self, progress: &mut dyn Progress) -> Result<(), BuildError> {
        progress::step(progress, "packages: look up the versions", |_| {
            self.packages.look_up(&self.apt)?;
            Ok(((), format!("{} packages", self.packages.all().len())))
        })
    }

    /// Downloads `names`. If one has to come from the network although its version was known long ago, the archive may
    /// have a newer one only: then all versions are looked up again.
    fn fetch(&mut self, names: &[&str], progress: &mut dyn Progress) -> Result<Vec<PathBuf>, BuildError> {
        let mut wanted = self.packages.select(names.iter().copied())?;
        let absent = |wanted: &[Candidate]| wanted.iter().any(|candidate| !self.apt.has(candidate));
        if absent(&wanted) && !self.apt.is_fresh() {
            self.look_up(progress)?;
            wanted = self.packages.select(names.iter().copied())?;
        }
        progress::step(progress, "packages: download", |_| {
            let megabytes = wanted.iter().map(|candidate| candidate.package.size).sum::<u64>() / 1_000_000;
            Ok((self.apt.fetch(&wanted)?, format!("{} packages, {megabytes} MB", wanted.len())))
        })
    }

    fn kernel_slot(&self, which: Variant) -> Result<Slot, BuildError> {
        let source = self.packages.select([kernel::PACKAGE])?.remove(0).package.sha256;
        let merged = fragments::merged(&which.fragments(self.architecture));
        let recipe = kernel::RECIPE.to_string();
        let inputs = [&source, &merged, &self.compiler, &recipe, self.architecture.name];
        Ok(Slot::new(&self.builds, which.kind(), &inputs, "vmlinux"))
    }

    fn kernel(&mut self, which: Variant, progress: &mut dyn Progress) -> Result<Artifact, BuildError> {
        if let Some(kept) = self.kernel_slot(which)?.kept() {
            return Ok(kept);
        }
        host::check_space(&self.builds, KERNEL_SPACE_MB)?;
        let deb = self.fetch(&[kernel::PACKAGE], progress)?.remove(0);
        let log = self.builds.join(format!("{}.log", which.kind()));
        let fragments = which.fragments(self.architecture);
        let build = |work: &Path, out: &Path| {
            KernelBuild::new(self.architecture, fragments, work, log).run(&deb, out, progress)
        };
        self.kernel_slot(which)?.make(build)
    }

    fn root_slot(&self) -> Result<Slot, BuildError> {
        let packages = self.packages.select(self.recipe.iter().map(|wanted| wanted.package.as_str()))?;
        let hashes: Vec<_> = packages.into_iter().map(|candidate| candidate.package.sha256).collect();
        let inputs = [hashes.join(" "), recipe::fingerprint(), digest::of_bytes(&self.demo)];
        Ok(Slot::new(&self.builds, "root", &inputs.each_ref().map(String::as_str), "root.erofs"))
    }

    fn root(&mut self, progress: &mut dyn Progress) -> Result<Artifact, BuildError> {
        if let Some(kept) = self.root_slot()?.kept() {
            return Ok(kept);
        }
        host::check_space(&self.builds, ROOT_SPACE_MB)?;
        let recipe = self.recipe.clone();
        let names: Vec<_> = recipe.iter().map(|wanted| wanted.package.as_str()).collect();
        let debs = self.fetch(&names, progress)?;
        let sources: Vec<_> = recipe.iter().zip(debs).map(|(wanted, deb)| Source { wanted, deb }).collect();
        let demo = self.demo.clone();
        let slot = self.root_slot()?;
        progress::step(progress, "root: pack", |_| {
            let made =
                slot.make(|work, out| rootfs::build(self.architecture, &sources, demo, work, &out.join("root.erofs")))?;
            let size = format!("{:.1} MB", made.size as f64 / 1e6);
            Ok((made, size))
        })
    }

    fn manifest(&self, kernel: &Artifact, root: &Artifact, agent: &[u8]) -> Result<Manifest, BuildError> {
        let own = env!("CARGO_PKG_VERSION");
        let kept = |file: &str, version: &str, artifact: &Artifact| Part {
            file: file.to_owned(),
            version: version.to_owned(),
            size: artifact.size,
            sha256: artifact.sha256.clone(),
        };
        let bytes = |file: &str, bytes: &[u8]| Part {
            file: file.to_owned(),
            version: own.to_owned(),
            size: bytes.len() as u64,
            sha256: digest::of_bytes(bytes),
        };
        let source = self.packages.select([kernel::PACKAGE])?.remove(0).package;
        Ok(Manifest {
            schema: manifest::SCHEMA,
            architecture: self.architecture.name.to_owned(),
            kernel: kept("vmlinux", &source.version, kernel),
            root: kept("root.erofs", own, root),
            agent: bytes("agent", agent),
            demo: bytes("usr/share/lighter/demo.tar", &self.demo),
            compiler: self.compiler.clone(),
            fragments: fragments::parts(&fragments::of(self.architecture.name)),
            packages: self.packages.all().iter().map(|candidate| candidate.package.clone()).collect(),
        })
    }
}

fn static_program(path: &Path, architecture: &'static Architecture) -> Result<Vec<u8>, BuildError> {
    let content = fs::read(path).map_err(BuildError::io("read", path))?;
    let sound = elf::read(&content)
        .is_some_and(|elf| elf.machine == architecture.machine && !elf.interpreted && elf.needed.is_empty());
    if sound {
        Ok(content)
    } else {
        Err(BuildError::NotStatic { path: path.to_owned(), architecture: architecture.name })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dynamic_agent_is_refused() {
        let own = std::env::current_exe().unwrap();
        let error = static_program(&own, Architecture::of_host().unwrap()).unwrap_err().to_string();
        assert!(error.contains("is not a static 64-bit executable"), "{error}");
    }
}
