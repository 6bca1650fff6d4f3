//! The guest's frames, one after another: checked, answered, or given to whom they concern. The task that runs as long as the
//! machine. Called by `Network::start`.

use std::sync::Arc;

use lighter_vmm::rate_limit::RateLimit;
use lighter_vmm::virtio::net::{Frame, HostEnd, Offload};

use super::budget::Budget;
use super::datagram::Egress;
use super::dns::Dns;
use super::fragments::Fragments;
use super::inward::Inward;
use super::packet::{ETHERNET, ICMP_V4, ICMP_V6, Packet, TCP, TYPE_ARP, TYPE_IPV4, TYPE_IPV6, UDP};
use super::ping::Pings;
use super::policy::Policy;
use super::tcp::{Connections, Memory};
use super::udp::Datagrams;
use super::{neighbours, plan};

/// Bytes for all packets of the guest that wait for something: a connection's task, a socket, the rest of their datagram.
pub const QUEUES: usize = 32 << 20;

/// Everything that is known of the guest's traffic.
pub struct Router {
    link: HostEnd,
    egress: Egress,
    fragments: Fragments,
    inward: Inward,
    connections: Connections,
    datagrams: Datagrams,
    pings: Pings,
    dropped: RateLimit,
}

impl Router {
    /// For the guest behind `link`. `memory` is for connections, `queues` for packets that wait, [`QUEUES`] in all.
    pub fn new(
        link: HostEnd,
        policy: Policy,
        dns: Arc<Dns>,
        inward: Inward,
        (memory, queues): (Memory, Budget),
    ) -> Self {
        let egress = Egress::new(link.sender());
        Self {
            link,
            inward,
            fragments: Fragments::new(queues.clone()),
            connections: Connections::new(egress.clone(), policy, Arc::clone(&dns), memory, queues.clone()),
            datagrams: Datagrams::new(egress.clone(), policy, dns, queues.clone()),
            pings: Pings::new(egress.clone(), policy, queues),
            egress,
            dropped: RateLimit::default(),
        }
    }

    /// Until the device is gone.
    pub async fn run(mut self) {
        while let Some(frame) = self.link.receive().await {
            self.frame(frame);
            // The queue is never empty while a guest floods it; the connections' tasks want to run too.
            tokio::task::coop::consume_budget().await;
        }
    }

    fn frame(&mut self, Frame { offload, bytes }: Frame) {
        let Some(header) = bytes.first_chunk::<ETHERNET>() else { return };
        // A group address, or our own, is nobody who sends.
        if header[6] & 1 != 0 || header[6..12] == plan::GATEWAY_MAC {
            return;
        }
        let to_us = header[..6] == plan::GATEWAY_MAC;
        let kind = u16::from_be_bytes([header[12], header[13]]);
        match kind {
            TYPE_ARP => {
                if let Some(reply) = neighbours::answer_arp(&bytes) {
                    self.egress.offer(Frame { offload: Offload::default(), bytes: reply });
                }
            }
            TYPE_IPV4 if to_us => self.packet(offload, bytes, kind),
            TYPE_IPV6 => {
                if let Some(reply) = neighbours::answer_solicitation(&bytes) {
                    self.egress.offer(Frame { offload: Offload::default(), bytes: reply });
                } else if to_us {
                    self.packet(offload, bytes, kind);
                }
            }
            // VLANs, IPX and what else there may be; and broadcasts, which concern nobody.
            _ => {}
        }
    }

    fn packet(&mut self, offload: Offload, bytes: Vec<u8>, kind: u16) {
        let packet = match Packet::parse(bytes, kind) {
            Ok(packet) => packet,
            Err(bad) => {
                if let Some(held_back) = self.dropped.allow() {
                    tracing::debug!(reason = %bad, held_back, "A packet of the guest was dropped");
                }
                return;
            }
        };
        // A checksum that the driver left undone is right by definition.
        let mut vouched = offload.checksum.is_some();
        let packet = match packet.fragment {
            None => packet,
            Some(fragment) => {
                vouched = false;
                let Some(whole) = self.fragments.receive(packet, fragment) else { return };
                whole
            }
        };
        if !vouched && !packet.is_checksum_valid() {
            return;
        }
        // Answers to clients of published ports.
        let Some(packet) = self.inward.receive(packet) else { return };
        match (packet.protocol, packet.source.is_ipv4()) {
            (TCP, _) => self.connections.receive(packet),
            (UDP, _) => self.datagrams.receive(packet),
            (ICMP_V4, true) | (ICMP_V6, false) => self.pings.receive(packet),
            _ => {}
        }
    }
}
