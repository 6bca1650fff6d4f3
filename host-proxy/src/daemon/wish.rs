//! What people and programs want of the keeper: that the machine lives, or that it ends. Sent by API calls (`door`), by
//! `lighter` (`serve`) and by signals; read by `keeper` while there is no machine and by `lifecycle` while there is one.
//!
//! Starts and stops come by two ways, so that a machine on its way down hears who insists while who wants the next one waits.

use tokio::sync::{mpsc, oneshot};

use crate::settings::Wishes;

/// Wishes that may wait in each of the two ways; whoever has one more waits before them.
const QUEUE: usize = 16;

/// How the machine is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// Ask the guest, and give its containers so many seconds.
    Graceful(u32),
    /// Do not ask.
    Kill,
}

/// The machine is to end.
#[derive(Debug)]
pub struct Stop {
    /// In what way.
    pub how: How,
    /// The daemon too.
    pub quit: bool,
    /// And another one is to live, with these flags.
    pub then: Option<Wishes>,
}

/// Who wants the machine to live.
#[derive(Debug)]
pub enum Caller {
    /// Somebody said so, with these flags.
    Person(Wishes),
    /// A program called the API when so many starts had been tried.
    Program {
        /// The board's count of starts at that time.
        seen: u64,
    },
}

/// The machine is to live.
#[derive(Debug)]
pub struct Start {
    /// Who wants it.
    pub caller: Caller,
    /// Told as soon as the board says that it starts, or why it does not even try.
    pub answer: oneshot::Sender<Result<(), String>>,
}

/// Takes wishes to the keeper. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Wants {
    starts: mpsc::Sender<Start>,
    stops: mpsc::Sender<Stop>,
}

impl Wants {
    /// Wants the machine to live; why the keeper will not even try.
    pub async fn start(&self, caller: Caller) -> Result<(), String> {
        let (answer, told) = oneshot::channel();
        let ending = || "lighter is ending".to_owned();
        self.starts.send(Start { caller, answer }).await.map_err(|_| ending())?;
        told.await.unwrap_or_else(|_| Err(ending()))
    }

    /// Wants the machine to end.
    pub async fn stop(&self, stop: Stop) {
        // A keeper that is gone has ended it.
        let _ = self.stops.send(stop).await;
    }
}

/// Where the wishes arrive.
#[derive(Debug)]
pub struct Inbox {
    starts: mpsc::Receiver<Start>,
    stops: mpsc::Receiver<Stop>,
    quit: bool,
    then: Option<Wishes>,
}

/// Both ends of the way.
pub fn channel() -> (Wants, Inbox) {
    let (starts, starting) = mpsc::channel(QUEUE);
    let (stops, stopping) = mpsc::channel(QUEUE);
    (Wants { starts, stops }, Inbox { starts: starting, stops: stopping, quit: false, then: None })
}

/// The next thing that is wanted of a keeper without a machine.
#[derive(Debug)]
pub enum Wish {
    /// That one lives.
    Start(Start),
    /// That none does; see [`Inbox::quits`] and [`Inbox::follower`].
    Stop,
}

impl Inbox {
    /// The next wish of either kind. Cancel-safe.
    pub async fn next(&mut self) -> Wish {
        tokio::select! {
            biased;
            stop = self.stops.recv() => {
                self.note(stop);
                Wish::Stop
            }
            Some(start) = self.starts.recv() => Wish::Start(start),
        }
    }

    /// Waits for a wish to end. Who wants the machine to live meanwhile hears that it does. Cancel-safe.
    pub async fn stop(&mut self) -> How {
        loop {
            tokio::select! {
                biased;
                stop = self.stops.recv() => return self.note(stop),
                // Who has gone away wants nothing any more.
                Some(start) = self.starts.recv() => drop(start.answer.send(Ok(()))),
            }
        }
    }

    /// A wish to end that is there already.
    pub fn stop_now(&mut self) -> Option<How> {
        let stop = self.stops.try_recv().ok()?;
        Some(self.note(Some(stop)))
    }

    /// Waits until somebody wants a machine that is on its way down to be off at once. Cancel-safe.
    pub async fn insist(&mut self) {
        loop {
            let stop = self.stops.recv().await;
            if self.note(stop) == How::Kill {
                return;
            }
        }
    }

    /// Whether the daemon is to end too.
    pub fn quits(&self) -> bool {
        self.quit
    }

    /// The flags of the machine that is to follow, as the last wish to stop had it.
    pub fn follower(&mut self) -> Option<Wishes> {
        self.then.take()
    }

    fn note(&mut self, stop: Option<Stop>) -> How {
        // Without senders nobody could ever wish anything.
        let stop = stop.unwrap_or(Stop { how: How::Kill, quit: true, then: None });
        self.quit |= stop.quit;
        self.then = stop.then;
        stop.how
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stop(how: How, quit: bool, then: bool) -> Stop {
        Stop { how, quit, then: then.then(Wishes::default) }
    }

    #[tokio::test]
    async fn a_machine_on_its_way_down_hears_who_insists_and_not_who_only_asks_again() {
        let (wants, mut inbox) = channel();
        wants.stop(stop(How::Graceful(10), false, true)).await;
        assert_eq!(inbox.stop().await, How::Graceful(10));
        wants.stop(stop(How::Graceful(10), true, false)).await;
        wants.stop(stop(How::Kill, false, false)).await;
        inbox.insist().await;
        assert!(inbox.quits(), "one who wants the daemon to end is not overruled");
        assert_eq!(inbox.follower(), None, "the last wish decides whether another machine follows");
    }

    #[tokio::test]
    async fn who_wants_a_machine_that_lives_hears_so_and_who_comes_too_late_hears_that_too() {
        let (wants, mut inbox) = channel();
        let start = tokio::spawn({
            let wants = wants.clone();
            async move { wants.start(Caller::Program { seen: 0 }).await }
        });
        let ender = wants.clone();
        let end = async {
            start.await.unwrap().unwrap();
            ender.stop(stop(How::Kill, false, false)).await;
        };
        let (how, ()) = tokio::join!(inbox.stop(), end);
        assert_eq!(how, How::Kill);
        drop(inbox);
        assert_eq!(wants.start(Caller::Program { seen: 0 }).await, Err("lighter is ending".to_owned()));
    }
}
