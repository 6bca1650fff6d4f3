//! What the guest has open: files and folders by the numbers that it was given for them. A number is never used twice, so one
//! that was released, or that nobody was given, opens nothing.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::errno::Errno;

/// Open objects by number, at most so many.
pub struct Handles<T> {
    open: Mutex<Open<T>>,
    most: usize,
}

struct Open<T> {
    /// With the node that each is open on.
    by_number: HashMap<u64, (u64, Arc<T>)>,
    next: u64,
}

impl<T> Handles<T> {
    /// None open.
    pub fn new(most: usize) -> Self {
        Self { open: Mutex::new(Open { by_number: HashMap::new(), next: 1 }), most }
    }

    /// Gives an object that is open on `node` a number.
    ///
    /// # Errors
    /// `ENFILE` if as many are open as may be.
    pub fn add(&self, node: u64, object: T) -> Result<u64, Errno> {
        let mut open = self.lock();
        if open.by_number.len() >= self.most {
            return Err(Errno::NFILE);
        }
        let number = open.next;
        open.next += 1;
        open.by_number.insert(number, (node, Arc::new(object)));
        Ok(number)
    }

    /// The one with this number, which then stays open as long as it is used.
    ///
    /// # Errors
    /// `EBADF`
    pub fn get(&self, number: u64) -> Result<Arc<T>, Errno> {
        self.lock().by_number.get(&number).map(|(_, object)| Arc::clone(object)).ok_or(Errno::BADF)
    }

    /// One that is open on `node`. Looks at all: for what happens seldom.
    pub fn on(&self, node: u64) -> Option<Arc<T>> {
        self.lock().by_number.values().find(|(of, _)| *of == node).map(|(_, object)| Arc::clone(object))
    }

    /// Closes one, once nobody uses it any more.
    ///
    /// # Errors
    /// `EBADF`
    pub fn release(&self, number: u64) -> Result<(), Errno> {
        let released = self.lock().by_number.remove(&number);
        released.map(drop).ok_or(Errno::BADF)
    }

    /// Closes all.
    pub fn clear(&self) {
        let all = std::mem::take(&mut self.lock().by_number);
        drop(all);
    }

    /// How many are open.
    pub fn len(&self) -> usize {
        self.lock().by_number.len()
    }

    fn lock(&self) -> MutexGuard<'_, Open<T>> {
        // Insertions and removals of a map leave nothing half done.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
