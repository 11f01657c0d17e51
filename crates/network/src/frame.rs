//! Messages on a stream: their length, 4 bytes big-endian, then as many bytes.

use crate::Error;
use bytes::Bytes;
use futures_util::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use std::{io, time::Duration};
use tokio::time::timeout;

/// Reads a message of at most `max` bytes. Memory grows with what arrives, not with what is announced; once its length is there, the rest has
/// `stall`, and a second more for each 256 KiB.
///
/// # Errors
/// [`Error::TooLarge`] before a byte of the message is read, [`Error::Timeout`], [`Error::Connection`].
pub(crate) async fn read(from: &mut (impl AsyncRead + Unpin), max: usize, stall: Duration) -> Result<Bytes, Error> {
    let mut length = [0; 4];
    from.read_exact(&mut length).await?;
    // a usize holds a u32 on every platform that this runs on
    let size = u32::from_be_bytes(length) as usize;
    if size > max {
        return Err(Error::TooLarge { size, max });
    }
    let mut bytes = Vec::with_capacity(size.min(64 << 10));
    timeout(patience(size, stall), from.take(size as u64).read_to_end(&mut bytes))
        .await
        .map_err(|_| Error::Timeout)??;
    if bytes.len() < size {
        return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
    }
    Ok(bytes.into())
}

/// Writes a message; does not flush.
pub(crate) async fn write(to: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> io::Result<()> {
    let size = u32::try_from(bytes.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    to.write_all(&size.to_be_bytes()).await?;
    to.write_all(bytes).await
}

/// How long a message of `size` bytes may take: `stall`, and a second for each 256 KiB.
pub(crate) fn patience(size: usize, stall: Duration) -> Duration {
    stall.saturating_add(Duration::from_secs((size >> 18) as u64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::io::Cursor;

    const STALL: Duration = Duration::from_secs(1);

    #[tokio::test]
    async fn round_trip_and_bounds() {
        let mut stream = Cursor::new(vec![]);
        for message in [&b""[..], b"one", &[7; 100_000]] {
            write(&mut stream, message).await.unwrap();
        }
        stream.set_position(0);
        assert_eq!(read(&mut stream, 10, STALL).await.unwrap(), Bytes::new());
        assert_eq!(read(&mut stream, 3, STALL).await.unwrap(), "one");
        assert!(matches!(read(&mut stream, 99_999, STALL).await, Err(Error::TooLarge { size: 100_000, max: 99_999 })));
    }

    #[tokio::test]
    async fn cut_and_huge_messages() {
        let cut = [0, 0, 0, 5, 1, 2];
        assert!(matches!(read(&mut Cursor::new(cut), 9, STALL).await, Err(Error::Connection(_))));
        let huge = [0xff; 8];
        assert!(matches!(read(&mut Cursor::new(huge), 1 << 20, STALL).await, Err(Error::TooLarge { .. })));
        assert!(matches!(read(&mut Cursor::new([0, 0]), 9, STALL).await, Err(Error::Connection(_))));
    }

    #[tokio::test]
    async fn a_message_that_stands_still_is_given_up() {
        let (mut ours, theirs) = tokio::io::duplex(64);
        tokio::io::AsyncWriteExt::write_all(&mut ours, &[0, 0, 0, 9, 1]).await.unwrap();
        let mut theirs = Compat(theirs);
        let stall = Duration::from_millis(20);
        assert!(matches!(read(&mut theirs, 9, stall).await, Err(Error::Timeout)));
    }

    /// tokio's reader as one of futures.
    struct Compat(tokio::io::DuplexStream);

    impl AsyncRead for Compat {
        fn poll_read(
            mut self: std::pin::Pin<&mut Self>,
            cx: &mut std::task::Context<'_>,
            buf: &mut [u8],
        ) -> std::task::Poll<io::Result<usize>> {
            let mut buf = tokio::io::ReadBuf::new(buf);
            std::task::ready!(tokio::io::AsyncRead::poll_read(std::pin::Pin::new(&mut self.0), cx, &mut buf))?;
            std::task::Poll::Ready(Ok(buf.filled().len()))
        }
    }
}
