//! Sockets of connections that are over, for the next ones: a socket's buffers are half a megabyte that would have to be
//! zeroed, which costs a short connection more than everything else that is done for it here. Called by `stack`.

use std::sync::{Arc, Mutex, PoisonError};

use smoltcp::socket::tcp::{Socket, SocketBuffer};

/// Most sockets that are kept: of so many short connections at the same time none makes its own. At most 2 MiB.
const MOST: usize = 4;

/// The sockets. Cheap to clone.
#[derive(Clone, Default)]
pub struct Stock(Arc<Mutex<Vec<Socket<'static>>>>);

impl Stock {
    /// A closed socket with `size` bytes for each direction. Their contents may be another connection's, and are seen by
    /// nobody: what is read from a buffer has been written into it.
    pub fn take(&self, size: usize) -> Socket<'static> {
        let mut sockets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = sockets.iter().position(|socket| socket.recv_capacity() == size);
        if let Some(at) = fits {
            return sockets.swap_remove(at);
        }
        drop(sockets);
        let buffer = || SocketBuffer::new(vec![0; size]);
        Socket::new(buffer(), buffer())
    }

    /// Keeps a socket whose connection is over.
    pub fn put(&self, mut socket: Socket<'static>) {
        socket.abort();
        let mut sockets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if sockets.len() < MOST {
            sockets.push(socket);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_is_used_again_by_whoever_wants_its_size_and_few_are_kept() {
        let stock = Stock::default();
        for size in [1024, 2048, 2048, 2048, 2048] {
            stock.put(Stock::default().take(size));
        }
        assert_eq!(stock.0.lock().unwrap().len(), MOST);
        let socket = stock.take(1024);
        assert_eq!((socket.recv_capacity(), socket.send_capacity(), socket.is_open()), (1024, 1024, false));
        assert_eq!(stock.0.lock().unwrap().len(), MOST - 1);
        assert_eq!(stock.take(4096).send_capacity(), 4096);
        assert_eq!(stock.0.lock().unwrap().len(), MOST - 1);
    }
}
