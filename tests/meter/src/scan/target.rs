//! What is scanned: an address and its ports, as one word of the command line: `ADDRESS` for all, or `ADDRESS=PORT,PORT`.

use std::error::Error;
use std::net::IpAddr;
use std::str::FromStr;

/// An address and the ports that are asked; none stands for all.
#[derive(Debug)]
pub struct Target {
    /// Whose.
    pub address: IpAddr,
    only: Vec<u16>,
}

/// Ports that are asked first, in order.
const FIRST: u16 = 1024;
/// The others' number, and a step that visits each of them once because it has no divisor with that in common.
const OTHERS: u32 = 65_536 - FIRST as u32;
const STEP: u32 = 7919;

impl Target {
    /// Some ports only.
    pub fn of_ports(address: IpAddr, only: Vec<u16>) -> Self {
        Self { address, only }
    }

    /// In the order in which they are asked: those of the system, then the others in strides, so that who runs out of time
    /// has asked a sample of all.
    pub fn ports(&self) -> Vec<u16> {
        if !self.only.is_empty() {
            return self.only.clone();
        }
        let others = (0..OTHERS).map(|index| FIRST + (index * STEP % OTHERS) as u16);
        (1..FIRST).chain(others).collect()
    }
}

impl FromStr for Target {
    type Err = Box<dyn Error>;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        let (address, ports) = word.split_once('=').unwrap_or((word, ""));
        let only = ports.split(',').filter(|port| !port.is_empty()).map(str::parse).collect::<Result<_, _>>()?;
        Ok(Self { address: address.parse()?, only })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn all_ports_are_asked_once_and_the_low_ones_first() {
        let target: Target = "fd6c::1".parse().unwrap();
        let ports = target.ports();
        assert_eq!((ports.len(), ports[..3].to_vec()), (65_535, vec![1, 2, 3]));
        assert_eq!(ports.into_iter().collect::<BTreeSet<_>>(), (1..=65_535).collect());
    }

    #[test]
    fn some_ports_can_be_named() {
        let target: Target = "192.0.2.1=80,443".parse().unwrap();
        assert_eq!((target.address.to_string().as_str(), target.ports()), ("192.0.2.1", vec![80, 443]));
        assert!("192.0.2.1=80,x".parse::<Target>().is_err() && "nowhere".parse::<Target>().is_err());
    }
}
