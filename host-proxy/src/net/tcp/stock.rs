//! Sockets of connections that are over, for the next ones: a socket's buffers are half a megabyte that would have to be
//! zeroed, which costs a short connection more than everything else that is done for it here. Called by `stack`.

use std::sync::{Arc, Mutex, PoisonError};

use smoltcp::socket::tcp::{Socket, SocketBuffer};

/// Most sockets that are kept: of so many short connections at the same time none makes its own. At most 2 MiB. When there
/// are so many, one that is much smaller gives way, because it is cheap to make; else the longest kept one of about the same
/// size does, for which nobody has asked since. So neither a few odd sizes nor those of yesterday fill it.
const MOST: usize = 4;

/// The sockets, the longest kept one first. Cheap to clone.
#[derive(Clone, Default)]
pub struct Stock(Arc<Mutex<Vec<Socket<'static>>>>);

impl Stock {
    /// A closed socket with `size` bytes for each direction. Their contents may be another connection's, and are seen by
    /// nobody: what is read from a buffer has been written into it.
    pub fn take(&self, size: usize) -> Socket<'static> {
        let mut sockets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = sockets.iter().rposition(|socket| socket.recv_capacity() == size);
        if let Some(at) = fits {
            return sockets.remove(at);
        }
        drop(sockets);
        let buffer = || SocketBuffer::new(vec![0; size]);
        Socket::new(buffer(), buffer())
    }

    /// Keeps a socket whose connection is over.
    pub fn put(&self, mut socket: Socket<'static>) {
        socket.abort();
        let size = socket.recv_capacity();
        let mut sockets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut gone = None;
        if sockets.len() >= MOST {
            let first =
                |gives_way: &dyn Fn(usize) -> bool| sockets.iter().position(|kept| gives_way(kept.recv_capacity()));
            let at = first(&|kept| kept <= size / 2).or_else(|| first(&|kept| kept < size * 2));
            let Some(at) = at else { return };
            gone = Some(sockets.remove(at));
        }
        sockets.push(socket);
        // Half a megabyte is given back to the system while nobody waits for the lock.
        drop(sockets);
        drop(gone);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_is_used_again_by_whoever_wants_its_size_and_few_are_kept() {
        let stock = Stock::default();
        for size in [2048, 2048, 2048, 2048, 1536] {
            stock.put(Stock::default().take(size));
        }
        assert_eq!(stock.0.lock().unwrap().len(), MOST);
        let socket = stock.take(1536);
        assert_eq!((socket.recv_capacity(), socket.send_capacity(), socket.is_open()), (1536, 1536, false));
        assert_eq!(stock.0.lock().unwrap().len(), MOST - 1);
        assert_eq!(stock.take(4096).send_capacity(), 4096);
        assert_eq!(stock.0.lock().unwrap().len(), MOST - 1);
    }

    #[test]
    fn sizes_that_nobody_asks_for_any_more_and_small_ones_give_way() {
        const LARGE: usize = 261_920;
        let stock = Stock::default();
        let sizes = |stock: &Stock| stock.0.lock().unwrap().iter().map(Socket::recv_capacity).collect::<Vec<_>>();
        let put = |sizes: &[usize]| sizes.iter().for_each(|&size| stock.put(Stock::default().take(size)));
        // A name server's, and one of the other version.
        put(&[LARGE - 80, 32 << 10, 32 << 10, LARGE - 80]);
        put(&[LARGE, LARGE]);
        assert_eq!(sizes(&stock), [LARGE - 80, LARGE - 80, LARGE, LARGE]);
        put(&[LARGE]);
        assert_eq!(sizes(&stock), [LARGE - 80, LARGE, LARGE, LARGE]);
        // Small ones take no large one's place, but each other's.
        put(&[32 << 10]);
        assert_eq!(sizes(&stock), [LARGE - 80, LARGE, LARGE, LARGE]);
        drop(stock.take(LARGE - 80));
        put(&[32 << 10, 32 << 10]);
        assert_eq!(sizes(&stock), [LARGE, LARGE, LARGE, 32 << 10]);
        // Nor do the ones of before stay when everybody speaks the other version.
        put(&[LARGE - 80; 4]);
        assert_eq!(sizes(&stock), [LARGE - 80; 4]);
    }
}
