//! 64 MiB each way on one connection at the same time, byte for byte, through spans and buffers of random sizes.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::guest::{BULK, BULK_LEN, Dice, PIECE, beside, machine, pattern};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_four_mebibytes_cross_both_ways_byte_for_byte() {
    let (_device, handle, guest) = machine(true, &[4096, 4096, 4096, 1000, 45]);
    beside(guest, async {
        let (mut from, mut to) = tokio::io::split(handle.dial(BULK).await.unwrap());
        let writer = tokio::spawn(async move {
            let (mut at, mut dice) = (0, Dice(1));
            while at < BULK_LEN {
                let len = (1 + dice.below(PIECE)).min(BULK_LEN - at);
                to.write_all(pattern(at, len)).await.unwrap();
                at += len;
            }
            to.shutdown().await.unwrap();
        });
        let (mut at, mut dice, mut buffer) = (0, Dice(2), vec![0; PIECE as usize]);
        loop {
            let want = 1 + dice.below(PIECE) as usize;
            let count = from.read(&mut buffer[..want]).await.unwrap();
            if count == 0 {
                break;
            }
            assert!(pattern(at, count as u64) == &buffer[..count], "bytes from the guest differ after {at}");
            at += count as u64;
        }
        assert_eq!(at, BULK_LEN);
        writer.await.unwrap();
    })
    .await;
}
