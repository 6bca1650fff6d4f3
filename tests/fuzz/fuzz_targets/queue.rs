//! Rings and descriptor tables made of arbitrary bytes, popped until they are empty or refused: every chain that comes out
//! is no longer than the queue and lies within guest memory.
#![no_main]

use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use lighter_vmm::memory::{self, GuestMemory};
use lighter_vmm::virtio::queue::{QueueConfig, QueueLayout, Span};
use lighter_vmm::virtio::{Interrupt, Virtqueue};
use vm_memory::{Bytes, GuestAddress};

/// RAM is so small that random addresses often meet it, and has a hole.
const LOW_END: u64 = 0x4000;
const HIGH: (u64, u64) = (0x8000, 0x1000);
const SIZE: u16 = 8;
/// The input fills memory from here on: descriptor table, available ring, used ring, and what indirect tables name.
const LAYOUT: QueueLayout = QueueLayout { size: SIZE, desc: 0x1000, avail: 0x1080, used: 0x1098 };

static MEMORY: LazyLock<GuestMemory> =
    LazyLock::new(|| memory::anonymous(&[(0, LOW_END), HIGH]).expect("20 KiB can be had"));

struct Silent;

impl Interrupt for Silent {
    fn queue(&self, _index: u16) {}
    fn config(&self) {}
    fn needs_reset(&self) {}
}

fn within_ram(span: &Span) -> bool {
    let (start, end) = (span.addr.0, span.addr.0 + u64::from(span.len));
    span.len > 0 && (end <= LOW_END || (start >= HIGH.0 && end <= HIGH.0 + HIGH.1))
}

fuzz_target!(|input: (bool, u16, &[u8])| {
    let (event_idx, next, bytes) = input;
    let bytes = &bytes[..bytes.len().min((LOW_END - LAYOUT.desc) as usize)];
    let mut image = [0; (LOW_END - LAYOUT.desc) as usize];
    image[..bytes.len()].copy_from_slice(bytes);
    MEMORY.write_slice(&image, GuestAddress(LAYOUT.desc)).expect("fits");
    let mut queue = Virtqueue::new(QueueConfig {
        index: 0,
        max_size: SIZE,
        layout: LAYOUT,
        event_idx,
        next,
        memory: Arc::clone(&MEMORY),
        kick: Arc::default(),
        interrupt: Arc::new(Silent),
    })
    .expect("the layout is sound");
    for _ in 0..=SIZE {
        let Ok(Some(chain)) = queue.pop() else { break };
        let spans: Vec<_> = chain.readable.iter().chain(&chain.writable).collect();
        assert!((1..=usize::from(SIZE)).contains(&spans.len()));
        assert!(spans.into_iter().all(within_ram));
        assert!(chain.readable_len() + chain.writable_len() <= u64::from(u32::MAX));
        queue.push(chain.head, 0).expect("the used ring lies in RAM");
        queue.publish().expect("the rings lie in RAM");
    }
    let _ = queue.enable_doorbell();
});
