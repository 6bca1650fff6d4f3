//! Docker's multiplexed stream: frames of one of two outputs, each with a header of eight bytes. How a process's output is cut
//! into frames is a matter of timing, so what counts is each output as a whole.

use anyhow::{Result, bail, ensure};

use crate::wire::Wire;

/// What came on each output.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Outputs {
    /// Frames of type 1.
    pub stdout: Vec<u8>,
    /// Frames of type 2.
    pub stderr: Vec<u8>,
}

impl Outputs {
    /// Takes a whole stream apart.
    pub fn parse(mut bytes: &[u8]) -> Result<Outputs> {
        let mut outputs = Outputs::default();
        while !bytes.is_empty() {
            ensure!(bytes.len() >= 8, "a frame header is cut: {:?}", bytes.escape_ascii());
            let (header, rest) = bytes.split_at(8);
            let length = length(header)?;
            ensure!(rest.len() >= length, "a frame is cut: {} of {length} bytes", rest.len());
            outputs.add(header[0], &rest[..length])?;
            bytes = &rest[length..];
        }
        Ok(outputs)
    }

    /// Reads frames until standard output holds `mark`.
    pub fn read_until(&mut self, wire: &mut Wire, mark: &[u8]) -> Result<()> {
        while !self.stdout.windows(mark.len()).any(|window| window == mark) {
            let header = wire.exactly(8)?;
            let data = wire.exactly(length(&header)?)?;
            self.add(header[0], &data)?;
        }
        Ok(())
    }

    fn add(&mut self, kind: u8, data: &[u8]) -> Result<()> {
        match kind {
            1 => self.stdout.extend_from_slice(data),
            2 => self.stderr.extend_from_slice(data),
            _ => bail!("a frame of type {kind}: {:?}", data.escape_ascii()),
        }
        Ok(())
    }
}

fn length(header: &[u8]) -> Result<usize> {
    ensure!(header[1..4] == [0, 0, 0], "a frame header {:?}", header.escape_ascii());
    Ok(u32::from_be_bytes([header[4], header[5], header[6], header[7]]) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_are_told_apart_and_cuts_are_found() {
        let stream = b"\x01\0\0\0\0\0\0\x02ab\x02\0\0\0\0\0\0\x01x\x01\0\0\0\0\0\0\x01c";
        let outputs = Outputs::parse(stream).expect("three frames");
        assert_eq!((outputs.stdout, outputs.stderr), (b"abc".to_vec(), b"x".to_vec()));
        assert!(Outputs::parse(&stream[..stream.len() - 1]).is_err());
        assert!(Outputs::parse(b"\x03\0\0\0\0\0\0\x01x").is_err());
    }
}
