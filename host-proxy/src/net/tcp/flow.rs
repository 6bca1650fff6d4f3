//! One TCP connection of the guest, joined to the world: the task that moves bytes between the guest's side ([`Stack`]) and
//! the far one. No buffer of its own: bytes go straight from the far socket into the stack's buffers and back, so each side's
//! window follows how fast the other one reads.
//!
//! ```text
//!   shaking hands ──(too slow, refused)──► over     begun by the guest, or from this side (`inward`)
//!      │
//!   joined ──FIN of the guest──► far side's sending shut ──┐
//!      │                                                   ├──both, and all delivered──► over
//!      ├─────far side's end───► FIN to the guest ──────────┘
//!      ├──RST of the guest, or its silence──► far side reset
//!      ├──its place is given away──► far side reset, RST to the guest
//!      ├──the guest takes no frames (too long, or its place is given away)──► far side reset
//!      └──far side's error──► RST to the guest
//! ```

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use lighter_vmm::virtio::net::Frame;
use smoltcp::socket::tcp::State;
use smoltcp::time::{Duration as Span, Instant as Moment};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Duration, Instant, Sleep, sleep_until};

use super::inbox::Inbox;
use super::stack::{SILENCE, Stack};
use crate::net::datagram::Egress;

/// A round that is due at once although the last one sent nothing is a timer that is about to run out.
const SHORTEST: Duration = Duration::from_millis(1);
/// How long the guest may take to answer the answer to its SYN.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Packets that are taken at once: while they are in the stack's hands they are not counted, and each may be answered.
const AT_ONCE: usize = 64;
/// For a wait without a deadline of its own.
const LONGEST: Duration = Duration::from_secs(3600);

/// The far side of a connection.
pub trait Far: AsyncRead + AsyncWrite + Unpin + Send + 'static {
    /// Makes dropping it a reset instead of an end.
    fn reset(&mut self);
}

impl Far for TcpStream {
    fn reset(&mut self) {
        // Fails only if the connection is gone already.
        let _ = socket2::SockRef::from(&*self).set_linger(Some(Duration::ZERO));
    }
}

impl Far for tokio::io::DuplexStream {
    fn reset(&mut self) {}
}

/// What is known of the far side.
#[derive(Default)]
struct Ends {
    /// The guest has said all, and the far side has been told.
    guest_told: bool,
    /// The far side has said all, and the guest's socket has been told.
    far_told: bool,
    /// One side broke the connection.
    broken: bool,
}

/// A joined connection.
pub struct Flow<F> {
    stack: Stack,
    far: F,
    inbox: Inbox,
    ends: Ends,
    /// The router has given the place away.
    displaced: bool,
    timer: Pin<Box<Sleep>>,
    began: Instant,
}

impl<F: Far> Flow<F> {
    /// Joins the two; `stack` holds the guest's SYN, or is about to send one.
    pub fn new(stack: Stack, far: F, inbox: Inbox) -> Self {
        let timer = Box::pin(tokio::time::sleep(LONGEST));
        let (ends, began) = (Ends::default(), Instant::now());
        Self { stack, far, inbox, ends, displaced: false, timer, began }
    }

    /// Moves bytes until both sides have ended or one is broken.
    pub async fn run(mut self, egress: &Egress) {
        loop {
            poll_fn(|cx| self.advance(cx)).await;
            for frame in std::mem::take(self.stack.sent()) {
                if !self.hand_over(frame, egress).await {
                    return;
                }
            }
            if self.is_over() {
                return;
            }
        }
    }

    /// Gives a frame to the link; `false` when the connection has ended instead. While the link is full none of the other
    /// deadlines is looked at, so a guest that takes nothing any more is found out here.
    async fn hand_over(&mut self, frame: Frame, egress: &Egress) -> bool {
        let silence = Duration::from_micros(SILENCE.total_micros());
        let deadline = if self.is_greeting() { self.began + HANDSHAKE } else { Instant::now() + silence };
        tokio::select! {
            biased;
            sent = egress.send(frame) => return sent.is_ok(),
            () = self.inbox.displaced() => {}
            () = sleep_until(deadline) => {}
        }
        if !self.is_over() {
            self.far.reset();
            self.break_off();
            // The guest's reset has a place only if one has just become free.
            self.stack.sent().drain(..).for_each(|frame| egress.offer(frame));
        }
        false
    }

    /// Does all that can be done; ready when there are frames to send or it is over.
    fn advance(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let mut busy = self.take_packets(cx);
            let now = self.now();
            // What freezes it in this round is still to be acknowledged.
            let frozen = self.is_frozen();
            if !frozen {
                self.stack.take(now);
            }
            let late = self.is_greeting() && self.began.elapsed() >= HANDSHAKE;
            if (late || self.displaced) && !self.ends.broken {
                self.far.reset();
                self.break_off();
            }
            if !self.is_greeting() {
                self.inbox.stands();
            }
            busy |= self.outwards(cx);
            busy |= self.inwards(cx);
            if !frozen {
                self.stack.send(now);
            }
            if !self.stack.sent().is_empty() || self.is_over() {
                return Poll::Ready(());
            }
            if !busy && self.sleep(cx, now).is_pending() {
                return Poll::Pending;
            }
        }
    }

    /// The guest's packets, into the stack.
    fn take_packets(&mut self, cx: &mut Context<'_>) -> bool {
        let (mut busy, mut left) = (false, AT_ONCE);
        while !self.displaced
            && left > 0
            && let Poll::Ready(packet) = self.inbox.poll_next(cx)
        {
            let Some(packet) = packet else {
                self.displaced = true;
                return true;
            };
            left -= 1;
            // The first one opened the connection; another one is its repetition, or noise.
            // Behind the end there is nothing to be said.
            if !super::is_syn(&packet) && !self.is_frozen() {
                self.stack.receive(packet);
                busy = true;
            }
        }
        // Nobody will wake us for those that are left.
        busy || left == 0
    }

    /// The guest's bytes, to the far side; then its end.
    fn outwards(&mut self, cx: &mut Context<'_>) -> bool {
        let mut busy = false;
        while !self.ends.broken && self.stack.socket().can_recv() {
            let far = &mut self.far;
            let moved = self.stack.socket().recv(|bytes| match Pin::new(far).poll_write(cx, bytes) {
                Poll::Ready(Ok(count)) => (count, Poll::Ready(Ok(count))),
                other => (0, other),
            });
            match moved {
                Ok(Poll::Ready(Ok(1..))) => busy = true,
                Ok(Poll::Pending) | Err(_) => break,
                Ok(Poll::Ready(_)) => self.break_off(),
            }
        }
        let finished =
            matches!(self.stack.state(), State::CloseWait | State::LastAck | State::Closing | State::TimeWait);
        let finished = finished || (self.stack.state() == State::Closed && self.ends.far_told);
        if finished && !self.ends.guest_told && !self.ends.broken && !self.stack.socket().can_recv() {
            // An error means that the far side has ended by itself.
            if Pin::new(&mut self.far).poll_shutdown(cx).is_ready() {
                self.ends.guest_told = true;
                busy = true;
            }
        }
        busy
    }

    /// The far side's bytes, to the guest; then its end.
    fn inwards(&mut self, cx: &mut Context<'_>) -> bool {
        let mut busy = false;
        while !self.ends.broken && !self.ends.far_told && self.stack.socket().can_send() {
            let far = &mut self.far;
            let moved = self.stack.socket().send(|room| {
                let mut buffer = ReadBuf::new(room);
                match Pin::new(far).poll_read(cx, &mut buffer) {
                    Poll::Ready(Ok(())) => (buffer.filled().len(), Poll::Ready(Ok(buffer.filled().len()))),
                    Poll::Ready(Err(error)) => (0, Poll::Ready(Err(error))),
                    Poll::Pending => (0, Poll::Pending),
                }
            });
            match moved {
                Ok(Poll::Ready(Ok(0))) => {
                    self.stack.socket().close();
                    self.ends.far_told = true;
                    busy = true;
                }
                Ok(Poll::Ready(Ok(_))) => busy = true,
                Ok(Poll::Ready(Err(error))) => {
                    note(&error);
                    self.break_off();
                    busy = true;
                }
                Ok(Poll::Pending) | Err(_) => break,
            }
        }
        busy
    }

    /// The far side is gone: the guest gets a reset with the next round.
    fn break_off(&mut self) {
        self.stack.socket().abort();
        self.ends.broken = true;
        let now = self.now();
        self.stack.send(now);
    }

    /// Both ends are known to the guest's socket, and only its bytes are left to be delivered. Its own timers would throw
    /// them away.
    fn is_frozen(&self) -> bool {
        self.stack.state() == State::TimeWait
    }

    /// Whether nothing is left to be done. A connection that the guest broke is reset on the far side as well.
    fn is_over(&mut self) -> bool {
        let closed = match self.stack.state() {
            State::Closed => true,
            State::TimeWait => false,
            _ => return false,
        };
        let delivered = self.ends.guest_told && self.ends.far_told;
        if closed && !delivered && !self.ends.broken && !self.undelivered() {
            self.far.reset();
            self.ends.broken = true;
        }
        delivered || self.ends.broken
    }

    /// The guest has closed in order, and the far side has not taken everything yet.
    fn undelivered(&mut self) -> bool {
        self.ends.far_told && !self.ends.guest_told && self.stack.socket().can_recv()
    }

    /// Whether the guest has not acknowledged the answer to its SYN yet, or not answered ours.
    fn is_greeting(&self) -> bool {
        matches!(self.stack.state(), State::Listen | State::SynReceived | State::SynSent)
    }

    fn sleep(&mut self, cx: &mut Context<'_>, now: Moment) -> Poll<()> {
        let due = if self.is_frozen() { None } else { self.stack.deadline(now) };
        let wait = due.map_or(LONGEST, |span: Span| Duration::from_micros(span.total_micros()).max(SHORTEST));
        let wait = if self.is_greeting() { wait.min(HANDSHAKE) } else { wait };
        self.timer.as_mut().reset(Instant::now() + wait);
        self.timer.as_mut().poll(cx)
    }

    fn now(&self) -> Moment {
        let since = i64::try_from(self.began.elapsed().as_micros()).unwrap_or(i64::MAX);
        // Never zero, which smoltcp takes for "long ago".
        Moment::from_micros(since.saturating_add(1))
    }
}

fn note(error: &io::Error) {
    tracing::debug!(%error, "a connection of the guest broke on the far side");
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use lighter_vmm::virtio::net::{Frame, GuestEnd, Offload, ends};
    use tokio::io::{AsyncWriteExt, DuplexStream};
    use tokio::task::JoinHandle;
    use tokio::time::{advance, timeout};

    use super::*;
    use crate::net::budget::Budget;
    use crate::net::tcp::stack::{Buffers, tests::segment};
    use crate::net::tcp::stock::Stock;
    use crate::net::tcp::{Letterbox, inbox};

    /// A far side that notes its reset.
    struct Watched(DuplexStream, Arc<AtomicBool>);

    impl Far for Watched {
        fn reset(&mut self) {
            self.1.store(true, Ordering::Relaxed);
        }
    }

    impl AsyncRead for Watched {
        fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.get_mut().0).poll_read(cx, buffer)
        }
    }

    impl AsyncWrite for Watched {
        fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            Pin::new(&mut self.get_mut().0).poll_write(cx, bytes)
        }

        fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.get_mut().0).poll_flush(cx)
        }

        fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.get_mut().0).poll_shutdown(cx)
        }
    }

    /// A connection that the guest has begun, and everything around it.
    struct Scene {
        guest: GuestEnd,
        egress: Egress,
        far: DuplexStream,
        was_reset: Arc<AtomicBool>,
        letterbox: Letterbox,
        task: JoinHandle<()>,
    }

    const FAR: ([u8; 4], u16) = ([192, 0, 2, 1], 80);

    impl Scene {
        fn new(is_link_full: bool) -> Self {
            let (guest, host) = ends();
            let egress = Egress::new(host.sender());
            if is_link_full {
                fill(&egress);
            }
            let (far, near) = tokio::io::duplex(1 << 20);
            let was_reset = Arc::new(AtomicBool::new(false));
            let (letterbox, inbox) = inbox(&Budget::new(1 << 20), None);
            let syn = segment(FAR.into(), 1000, 0, 2, &[]);
            let stack = Stack::new(syn, FAR.into(), Buffers(32 << 10), &egress, &Stock::default(), 1);
            let flow = Flow::new(stack, Watched(near, Arc::clone(&was_reset)), inbox);
            let on = egress.clone();
            let task = tokio::spawn(async move { flow.run(&on).await });
            Self { guest, egress, far, was_reset, letterbox, task }
        }

        /// Lets time pass.
        async fn wait(&self, wait: Duration) {
            tokio::task::yield_now().await;
            advance(wait).await;
            tokio::task::yield_now().await;
        }

        /// Whether it ends without more time than it takes to notice.
        async fn ended_by_a_reset(self) -> bool {
            timeout(Duration::from_secs(1), self.task).await.is_ok() && self.was_reset.load(Ordering::Relaxed)
        }
    }

    fn fill(egress: &Egress) {
        let sender = || Frame { offload: Offload::default(), bytes: vec![0; 14] };
        (0..lighter_vmm::virtio::net::QUEUED_FRAMES).for_each(|_| egress.offer(sender()));
    }

    #[tokio::test(start_paused = true)]
    async fn n9_a_guest_that_takes_no_frames_has_no_longer_than_others_for_its_handshake() {
        let scene = Scene::new(true);
        scene.wait(HANDSHAKE - Duration::from_secs(1)).await;
        assert!(!scene.task.is_finished());
        scene.wait(Duration::from_secs(1)).await;
        assert!(scene.ended_by_a_reset().await);
    }

    #[tokio::test(start_paused = true)]
    async fn n9_a_place_that_is_given_away_is_left_although_the_guest_takes_no_frames() {
        let mut scene = Scene::new(true);
        // What waits in the inbox does not hide it.
        scene.letterbox.put(segment(FAR.into(), 1001, 1, 16, &[])).unwrap();
        scene.wait(Duration::from_secs(1)).await;
        assert!(!scene.task.is_finished());
        scene.letterbox = inbox(&Budget::new(0), None).0;
        assert!(scene.ended_by_a_reset().await);
    }

    #[tokio::test(start_paused = true)]
    async fn n9_a_guest_that_takes_no_frames_any_more_loses_its_connections_after_a_while() {
        let mut scene = Scene::new(false);
        scene.wait(Duration::from_millis(1)).await;
        let answer = scene.guest.next_frame().unwrap().bytes;
        let theirs = u32::from_be_bytes(answer[38..42].try_into().unwrap()).wrapping_add(1);
        scene.letterbox.put(segment(FAR.into(), 1001, theirs, 16, &[])).unwrap();
        scene.wait(Duration::from_millis(1)).await;
        fill(&scene.egress);
        scene.far.write_all(b"nobody takes this").await.unwrap();
        scene.wait(2 * HANDSHAKE).await;
        assert!(!scene.task.is_finished());
        scene.wait(Duration::from_micros(SILENCE.total_micros())).await;
        assert!(scene.ended_by_a_reset().await);
    }
}
