//! A connection's bytes: counted against the limit of connections, and given up when the other side stops reading.

use crate::limits::Place;
use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};

/// How long a write may stand still. What waits behind it holds memory all that time.
const STALL: Duration = Duration::from_secs(20);

/// A socket that holds one place among the connections and whose writes fail once they stand still for [`STALL`].
pub(crate) struct Socket<S> {
    stream: S,
    /// Armed while a write waits.
    stalled: Option<Pin<Box<Sleep>>>,
    _place: Place,
}

impl<S> Socket<S> {
    pub(crate) fn new(stream: S, place: Place) -> Self {
        metrics::gauge!("jove_rpc_connections").increment(1.0);
        Self { stream, stalled: None, _place: place }
    }

    /// Passes progress on; turns a wait that lasts too long into an error.
    fn watch<T>(&mut self, context: &mut Context<'_>, poll: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if poll.is_ready() {
            self.stalled = None;
            return poll;
        }
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(STALL)));
        ready!(stalled.as_mut().poll(context));
        tracing::info!("disconnecting a client that does not read its answers");
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S> Drop for Socket<S> {
    fn drop(&mut self) {
        metrics::gauge!("jove_rpc_connections").decrement(1.0);
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Socket<S> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Socket<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let poll = Pin::new(&mut this.stream).poll_write(context, bytes);
        this.watch(context, poll)
    }
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let poll = Pin::new(&mut this.stream).poll_write_vectored(context, slices);
        this.watch(context, poll)
    }
    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let poll = Pin::new(&mut this.stream).poll_flush(context);
        this.watch(context, poll)
    }
    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Connections;
    use tokio::io::AsyncWriteExt;

    #[tokio::test(start_paused = true)]
    async fn a_write_that_stands_still_fails_and_frees_its_place() {
        let places = Connections::new(1, 0);
        let place = places.admit(None).expect("a place");
        let (ours, theirs) = tokio::io::duplex(16);
        let mut socket = Socket::new(ours, place);
        socket.write_all(&[0; 16]).await.expect("there is room");
        let error = socket.write_all(&[0; 16]).await.expect_err("nobody reads");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(places.free(), 0);
        drop((socket, theirs));
        assert_eq!(places.free(), 1);
    }
}
