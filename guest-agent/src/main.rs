//! PID 1 of the guest. The kernel starts it from the initramfs; it never returns. Under another name it is the program that
//! dockerd starts for each published port.

use lighter_agent::{accept, boot, control, docker_proxy, engine, fatal, log, relay};
use lighter_protocol::ports;

fn main() -> ! {
    if std::process::id() != 1 {
        if docker_proxy::is_meant() {
            docker_proxy::run();
        }
        eprintln!("lighter-agent is the first process of lighter's virtual machine and does nothing anywhere else");
        std::process::exit(2);
    }
    fatal::watch();
    log::start();
    let guest = boot::boot();

    let listening = accept::serve(ports::CONTROL, "control", move |connection| control::serve(&guest, connection))
        .and_then(|()| accept::serve(ports::DOCKER, "docker", |connection| engine::join(connection, relay::relay)));
    if let Err(error) = listening {
        fatal::end("accept", &error);
    }
    loop {
        std::thread::park();
    }
}
