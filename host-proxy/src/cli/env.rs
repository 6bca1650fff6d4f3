//! `lighter env`: what makes one shell use this machine, whatever the current docker context is.

use std::path::Path;
use std::process::ExitCode;

use clap::{Args, ValueEnum};

use super::{Target, output};

#[derive(Debug, Args)]
pub struct Env {
    /// In this shell's words; default is that of $SHELL.
    #[arg(long)]
    shell: Option<Shell>,
    /// Print what takes the variable away again.
    #[arg(short, long)]
    unset: bool,
    /// As JSON.
    #[arg(long, conflicts_with_all = ["shell", "unset"])]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, ValueEnum)]
enum Shell {
    #[value(aliases = ["bash", "zsh", "dash", "ksh", "posix"])]
    Sh,
    Fish,
    #[value(alias = "pwsh")]
    Powershell,
    Cmd,
}

impl Env {
    pub fn run(&self, target: &Target) -> anyhow::Result<ExitCode> {
        let host = target.profile.docker_host();
        if self.json {
            return output::data(&format!("{}\n", serde_json::json!({ "DOCKER_HOST": host })));
        }
        let shell = self.shell.unwrap_or_else(current);
        output::data(&if self.unset { unset(shell).to_owned() } else { set(shell, &host) })
    }
}

/// The shell that this runs in, by the custom of each.
fn current() -> Shell {
    let shell = std::env::var_os("SHELL").unwrap_or_default();
    let name = Path::new(&shell).file_stem().unwrap_or_default().to_string_lossy().into_owned();
    match name.as_str() {
        "fish" => Shell::Fish,
        "pwsh" => Shell::Powershell,
        // Only Windows has no $SHELL and this variable.
        "" if std::env::var_os("PSModulePath").is_some() => Shell::Powershell,
        _ => Shell::Sh,
    }
}

fn set(shell: Shell, host: &str) -> String {
    match shell {
        Shell::Sh => format!("export DOCKER_HOST='{}'\n", host.replace('\'', r"'\''")),
        Shell::Fish => format!("set -gx DOCKER_HOST '{}'\n", host.replace('\\', r"\\").replace('\'', r"\'")),
        Shell::Powershell => format!("$Env:DOCKER_HOST = '{}'\n", host.replace('\'', "''")),
        Shell::Cmd => format!("set \"DOCKER_HOST={}\"\n", host.replace('%', "%%")),
    }
}

fn unset(shell: Shell) -> &'static str {
    match shell {
        Shell::Sh => "unset DOCKER_HOST\n",
        Shell::Fish => "set -e DOCKER_HOST\n",
        Shell::Powershell => "Remove-Item Env:DOCKER_HOST\n",
        Shell::Cmd => "set DOCKER_HOST=\n",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c7_a_home_with_quotes_spaces_and_dollars_survives_the_shell() {
        assert_eq!(set(Shell::Fish, "unix:///a'b\\"), "set -gx DOCKER_HOST 'unix:///a\\'b\\\\'\n");
        assert_eq!(
            set(Shell::Powershell, "npipe:////./pipe/o'neil"),
            "$Env:DOCKER_HOST = 'npipe:////./pipe/o''neil'\n"
        );
        let host = "unix:///home/o'neil/a b/$HOME`id`%\"\\/docker.sock";
        assert_eq!(
            set(Shell::Sh, host),
            "export DOCKER_HOST='unix:///home/o'\\''neil/a b/$HOME`id`%\"\\/docker.sock'\n"
        );
        let script = format!("{}printf %s \"$DOCKER_HOST\"", set(Shell::Sh, host));
        match std::process::Command::new("sh").arg("-c").arg(script).output() {
            Ok(output) => assert_eq!(String::from_utf8(output.stdout).unwrap(), host),
            // There is none here, and nobody to ask for its opinion.
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::NotFound),
        }
    }
}
