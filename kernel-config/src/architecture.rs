//! What differs between the guest's CPUs when an image is built: the names that Debian, the kernel and Rust have for them.

/// Names and files of one architecture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Architecture {
    /// Rust's name.
    pub name: &'static str,
    /// Debian's name.
    pub debian: &'static str,
    /// Debian's multiarch directory.
    pub triplet: &'static str,
    /// The dynamic loader's path in a package of libc.
    pub loader: &'static str,
    /// `e_machine` of its executables.
    pub machine: u16,
    /// `ARCH=` of the kernel's makefile.
    pub make: &'static str,
    /// The makefile's target, which needs no decompressor.
    pub target: &'static str,
    /// Where that target comes to lie in the kernel's tree.
    pub product: &'static str,
    /// `architecture` in the configuration of an OCI image.
    pub oci: &'static str,
}

impl Architecture {
    /// The architecture of the computer that this program was built for, which is the one that it builds images for.
    pub fn of_host() -> Option<&'static Self> {
        [&X86_64, &AARCH64].into_iter().find(|architecture| architecture.name == std::env::consts::ARCH)
    }
}

/// x86-64.
pub const X86_64: Architecture = Architecture {
    name: "x86_64",
    debian: "amd64",
    triplet: "x86_64-linux-gnu",
    loader: "usr/lib64/ld-linux-x86-64.so.2",
    machine: crate::elf::X86_64,
    make: "x86_64",
    target: "vmlinux",
    product: "vmlinux",
    oci: "amd64",
};

/// AArch64.
pub const AARCH64: Architecture = Architecture {
    name: "aarch64",
    debian: "arm64",
    triplet: "aarch64-linux-gnu",
    loader: "usr/lib/ld-linux-aarch64.so.1",
    machine: crate::elf::AARCH64,
    make: "arm64",
    target: "Image",
    product: "arch/arm64/boot/Image",
    oci: "arm64",
};
