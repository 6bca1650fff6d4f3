//! `lighter help`: how to begin and where things are; `lighter help VERB` shows one verb.

use std::process::ExitCode;

use clap::{Args, CommandFactory};

use super::{Cli, output};

/// What a person needs on the first day; also behind `lighter --help`.
pub const FIRST_STEPS: &str = "\
The first three commands:
  lighter start                         start the machine; `docker` talks to it from then on
  docker run --rm lighter/demo          run a container that is already there
  lighter stop                          stop it until the next docker command; containers, images and volumes stay

Every day:
  lighter start -c 4 -m 8 -d 100        with 4 CPUs, 8 GiB of memory, and a disk of up to 100 GiB; kept for later starts
  lighter start -p work                 another machine beside it; its docker context is `lighter-work`
  lighter env                           what sets DOCKER_HOST, for tools that know no docker contexts
  lighter context claim-socket          for tools that know nothing but /var/run/docker.sock
  lighter autostart on                  have it there from login on; the first docker command starts the machine
  lighter ports                         where `docker run -p` ports are reached on this computer, and which container has them
  lighter shell                         look around inside
  lighter disk trim                     give space that containers have freed back to this computer
  lighter doctor                        what is wrong, and the command that cures it

Where things are ($LIGHTER_HOME moves them, default ~/.lighter):
  ~/.lighter/default/docker.sock        the Docker API of the profile `default`
  ~/.lighter/default/data.img           its images, containers and volumes; sparse, so it takes only what is in it
  ~/.lighter/default/config.toml        its settings: sizes, engine, network, published ports, proxies
  ~/.lighter/default/daemon.log         what lighter did: `lighter logs`
  ~/.lighter/default/console.log        what the guest's kernel said: `lighter logs console`
  ~/.cache/lighter/images/              guest images, checked before every boot

Results go to stdout, remarks to stderr. Exit code 0 is done, 1 failed (the message says why and what to do), 2 wrong usage.
";

#[derive(Debug, Args)]
pub struct Help {
    /// About which command.
    #[arg(value_name = "COMMAND")]
    verb: Vec<String>,
}

impl Help {
    pub fn run(&self) -> anyhow::Result<ExitCode> {
        let mut command = Cli::command();
        command.build();
        let mut found = &mut command;
        for word in &self.verb {
            found = match found.find_subcommand_mut(word) {
                Some(verb) => verb,
                None => {
                    output::talk(&format!("error: There is no command `{word}`: `lighter help` lists them"));
                    // As for every other wrong usage.
                    return Ok(ExitCode::from(2));
                }
            };
        }
        let text = found.render_long_help();
        output::data(&text.to_string())
    }
}
