//! Boots a kernel on KVM, or on another engine, and shows how it ended: for developers and for benches that want the VMM
//! without the daemon around it.
//!
//! `boot KERNEL INITRAMFS CONSOLE [--cpus N] [--memory MIB] [--disk FILE] [--read-only-disk FILE] [--software|--whp] [--no-doorbell] [--cmdline TEXT] [--seconds N]`

use std::path::PathBuf;
use std::time::{Duration, Instant};

use lighter_vmm::hv;
use lighter_vmm::{ConsoleSink, DiskConfig, EngineKind, Machine, MachineConfig};

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let launched = Instant::now();
    let (config, patience) = parse(std::env::args().skip(1))?;
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?.block_on(async {
        eprintln!("{:>8.1} ms  files read", millis(launched));
        hv::probe(config.engine)?;
        eprintln!("{:>8.1} ms  probed", millis(launched));
        let machine = Machine::start(config)?;
        eprintln!("{:>8.1} ms  vCPUs running", millis(launched));
        let mut hello = machine.vsock().listen(lighter_protocol::ports::HELLO);
        let stop = tokio::select! {
            stop = machine.wait() => stop,
            () = async {
                while hello.accept().await.is_some() {
                    eprintln!("{:>8.1} ms  guest dialled in; {:?}", millis(launched), machine.stats());
                }
                std::future::pending().await
            } => unreachable!("the block above never ends"),
            () = tokio::time::sleep(patience) => {
                machine.kill().await;
                machine.wait().await
            }
        };
        eprintln!("{:>8.1} ms  {stop:?}; {:?}", millis(launched), machine.stats());
        Ok(())
    })
}

fn millis(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}

fn parse(mut words: impl Iterator<Item = String>) -> Result<(MachineConfig, Duration), Failure> {
    let mut next = |what: &str| words.next().ok_or(format!("{what} is missing"));
    let kernel_path = PathBuf::from(next("KERNEL")?);
    let initramfs = next("INITRAMFS")?;
    let console = PathBuf::from(next("CONSOLE")?);
    let mut config = MachineConfig {
        engine: EngineKind::Kvm,
        cpus: 1,
        memory_bytes: 512 << 20,
        kernel: std::fs::read(&kernel_path)?,
        initramfs: if initramfs == "-" { Vec::new() } else { std::fs::read(initramfs)? },
        cmdline: "console=hvc0 quiet panic=-1 reboot=k".into(),
        disks: Vec::new(),
        network: None,
        folders: None,
        console: ConsoleSink { path: console, max_bytes: 4 << 20 },
        runtime_dir: std::env::temp_dir(),
        no_doorbell: false,
    };
    let mut patience = Duration::from_secs(120);
    while let Ok(flag) = next("flag") {
        match flag.as_str() {
            "--cpus" => config.cpus = next("N")?.parse()?,
            "--memory" => config.memory_bytes = next("MIB")?.parse::<u64>()? << 20,
            "--cmdline" => config.cmdline = next("TEXT")?,
            "--software" => config.engine = EngineKind::Software,
            "--whp" => config.engine = EngineKind::Whp,
            "--no-doorbell" => config.no_doorbell = true,
            "--seconds" => patience = Duration::from_secs(next("N")?.parse()?),
            "--disk" | "--read-only-disk" => {
                let path = PathBuf::from(next("FILE")?);
                let read_only = flag == "--read-only-disk";
                let file = std::fs::OpenOptions::new().read(true).write(!read_only).open(&path)?;
                let serial = format!("disk{}", config.disks.len());
                config.disks.push(DiskConfig { file, path, read_only, serial });
            }
            other => return Err(format!("unknown word {other}").into()),
        }
    }
    Ok((config, patience))
}
