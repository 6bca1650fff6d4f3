//! Asks the SSH agent at `SSH_AUTH_SOCK` for its keys and prints each one's comment and public part. Compiled without libraries
//! beyond Rust's own, so that it runs in a container that has nothing else; the suite `clients` builds and calls it.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

/// Message numbers of the agent protocol (draft-ietf-sshm-ssh-agent, section 6).
const REQUEST_IDENTITIES: u8 = 11;
const IDENTITIES_ANSWER: u8 = 12;

fn number(input: &mut impl Read) -> std::io::Result<u32> {
    let mut bytes = [0; 4];
    input.read_exact(&mut bytes)?;
    Ok(u32::from_be_bytes(bytes))
}

fn string(input: &mut impl Read) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let length = u64::from(number(input)?);
    input.take(length).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut agent = UnixStream::connect(std::env::var("SSH_AUTH_SOCK")?)?;
    agent.write_all(&[0, 0, 0, 1, REQUEST_IDENTITIES])?;
    let answer = string(&mut agent)?;
    let (kind, mut rest) = answer.split_first().ok_or("an empty answer")?;
    if *kind != IDENTITIES_ANSWER {
        return Err(format!("answer {kind}").into());
    }
    for _ in 0..number(&mut rest)? {
        let (key, comment) = (string(&mut rest)?, string(&mut rest)?);
        let hex: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
        println!("{} {hex}", String::from_utf8_lossy(&comment));
    }
    Ok(())
}
