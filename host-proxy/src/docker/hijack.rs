//! Behind a 101, or a raw 200: two copies without meaning, one each way, until both have ended. `exchange` starts it
//! with whatever either side had already sent behind the response head.

use std::io;

use super::peer::{Inlet, Outlet, Peer};
use crate::guest::Stream;

/// Both directions ended in order.
pub(super) struct Ended;

/// Moves bytes both ways. An end on one side becomes an end on the other and leaves the opposite direction open.
///
/// # Errors
/// When either side was reset, or the client takes no more output: both must be dropped, so that the other side sees
/// a break and not an end.
pub(super) async fn run<C: Stream, G: Stream>(client: &mut Peer<C>, guest: &mut Peer<G>) -> io::Result<Ended> {
    let input = async {
        match pour(&mut client.inlet, &mut guest.outlet).await {
            // A process that closed its stdin may still write: only this direction is over.
            Err(Broken::Outlet) => Ok(()),
            Err(Broken::Inlet(error)) => Err(error),
            Ok(()) => Ok(()),
        }
    };
    let output = async {
        match pour(&mut guest.inlet, &mut client.outlet).await {
            Err(Broken::Outlet) => Err(io::ErrorKind::BrokenPipe.into()),
            Err(Broken::Inlet(error)) => Err(error),
            Ok(()) => Ok(()),
        }
    };
    tokio::try_join!(input, output).map(|_| Ended)
}

enum Broken {
    Inlet(io::Error),
    Outlet,
}

async fn pour<F: Stream, T: Stream>(from: &mut Inlet<F>, to: &mut Outlet<T>) -> Result<(), Broken> {
    loop {
        let mut left = from.bytes().len();
        if left > 0 && to.closed() {
            return Err(Broken::Outlet);
        }
        to.send(from, &mut left).await.map_err(|_| Broken::Outlet)?;
        if from.ended() {
            return to.close().await.map_err(|_| Broken::Outlet);
        }
        from.fill().await.map_err(Broken::Inlet)?;
    }
}
