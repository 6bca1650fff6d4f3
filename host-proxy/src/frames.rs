//! The frames of `lighter_protocol::wire` on async streams, read exactly: not a byte behind a frame is taken, because the
//! stream may go on as something else. Used for the guest's channels and for the daemon's own control socket.

use std::io;

use lighter_protocol::wire::{self, StreamFrame, WireError};
use serde::{Serialize, de::DeserializeOwned};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// A conversation that went wrong.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The connection broke.
    #[error("The connection broke")]
    Io(#[from] io::Error),
    /// The peer speaks something else.
    #[error("The other side does not speak this protocol")]
    Wire(#[from] WireError),
    /// The peer closed where a frame was due.
    #[error("The connection was closed before an answer came")]
    Closed,
}

/// Reads one message.
pub async fn read<T: DeserializeOwned>(stream: &mut (impl AsyncRead + Unpin)) -> Result<T, FrameError> {
    let bytes = read_frame(stream, 0, wire::MAX_MESSAGE).await?;
    let (message, _) = wire::decode(&bytes)?.ok_or(FrameError::Closed)?;
    Ok(message)
}

/// Writes one message.
pub async fn write<T: Serialize>(stream: &mut (impl AsyncWrite + Unpin), message: &T) -> Result<(), FrameError> {
    stream.write_all(&wire::encode(message)?).await?;
    stream.flush().await?;
    Ok(())
}

/// Reads one stream frame.
pub async fn read_stream(stream: &mut (impl AsyncRead + Unpin)) -> Result<StreamFrame, FrameError> {
    let bytes = read_frame(stream, 1, wire::MAX_PAYLOAD).await?;
    let (frame, _) = wire::decode_stream(&bytes)?.ok_or(FrameError::Closed)?;
    Ok(frame)
}

/// Writes one stream frame.
pub async fn write_stream(stream: &mut (impl AsyncWrite + Unpin), frame: &StreamFrame) -> Result<(), FrameError> {
    stream.write_all(&wire::encode_stream(frame)?).await?;
    stream.flush().await?;
    Ok(())
}

/// Reads `prefix` bytes, a length, and as many bytes as it says. The buffer grows only with what has really come.
async fn read_frame(stream: &mut (impl AsyncRead + Unpin), prefix: usize, limit: usize) -> Result<Vec<u8>, FrameError> {
    let mut bytes = vec![0; prefix + 4];
    match stream.read_exact(&mut bytes).await {
        Ok(_) => (),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Err(FrameError::Closed),
        Err(error) => return Err(error.into()),
    }
    let length = bytes[prefix..].iter().rev().fold(0_usize, |length, &byte| length << 8 | usize::from(byte));
    if length > limit {
        return Err(WireError::TooLong { length, limit }.into());
    }
    let taken = stream.take(length as u64).read_to_end(&mut bytes).await?;
    if taken < length { Err(FrameError::Closed) } else { Ok(bytes) }
}

#[cfg(test)]
mod tests {
    use lighter_protocol::{Reply, Request};

    use super::*;

    #[tokio::test]
    async fn a1_frames_are_read_exactly_and_what_follows_stays() {
        let (mut ours, mut theirs) = tokio::io::duplex(64);
        let send = async {
            write(&mut theirs, &Request::Info).await.unwrap();
            write_stream(&mut theirs, &StreamFrame::Stdin(vec![7; 1000])).await.unwrap();
            theirs.write_all(b"rest").await.unwrap();
            drop(theirs);
        };
        let receive = async {
            assert_eq!(read::<Request>(&mut ours).await.unwrap(), Request::Info);
            assert_eq!(read_stream(&mut ours).await.unwrap(), StreamFrame::Stdin(vec![7; 1000]));
            let mut rest = Vec::new();
            ours.read_to_end(&mut rest).await.unwrap();
            assert_eq!(rest, b"rest");
        };
        tokio::join!(send, receive);
    }

    #[tokio::test]
    async fn a1_lying_lengths_partial_frames_and_garbage_are_errors() {
        let endless = [0xff, 0xff, 0xff, 0xff, b'{'];
        assert!(matches!(read::<Reply>(&mut &endless[..]).await, Err(FrameError::Wire(WireError::TooLong { .. }))));
        assert!(matches!(read::<Reply>(&mut &[9, 0, 0, 0, b'{'][..]).await, Err(FrameError::Closed)));
        assert!(matches!(read::<Reply>(&mut &[1, 0][..]).await, Err(FrameError::Closed)));
        assert!(matches!(
            read::<Reply>(&mut &[2, 0, 0, 0, b'{', b'}'][..]).await,
            Err(FrameError::Wire(WireError::Json(_)))
        ));
        assert!(matches!(read_stream(&mut &[9, 0, 0, 0, 0][..]).await, Err(FrameError::Wire(WireError::Kind(9)))));
    }
}
