//! How bytes travel: TCP with Noise and yamux, or QUIC; names are resolved by DNS.
//!
//! Whatever a connection carries, it is read no faster than [`Limits::bandwidth`], and opens streams no faster than [`Limits::streams`]: the
//! other side's writes wait. A connection's unread bytes are bounded by its windows: 32 MiB with yamux, 8 MiB with QUIC.

use crate::{Error, Identity, Limits, Rate, bucket::Bucket};
use futures_util::{
    future::{Ready, ready},
    io::{AsyncRead, AsyncWrite},
    ready as poll_ready,
};
use libp2p::{
    PeerId, Transport,
    core::{
        muxing::{StreamMuxer, StreamMuxerBox, StreamMuxerEvent},
        transport::Boxed,
        upgrade::{InboundConnectionUpgrade, OutboundConnectionUpgrade, UpgradeInfo, Version},
    },
    dns, noise, quic, tcp,
};
use parking_lot::Mutex;
use std::{
    collections::VecDeque,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Instant,
};
use tokio::time::Sleep;

/// Streams of one connection, in either direction.
const MAX_STREAMS: usize = 64;
/// Streams that wait to be taken.
const MAX_WAITING: usize = 32;
/// Half of it is what streams always have, 256 KiB each; the other half lets windows grow with the round trip.
const YAMUX_WINDOW: usize = 32 << 20;
const QUIC_WINDOW: u32 = 8 << 20;
const QUIC_STREAM_WINDOW: u32 = 2 << 20;

/// The transport of a node.
pub(crate) fn build(identity: &Identity, limits: &Limits) -> Result<Boxed<(PeerId, StreamMuxerBox)>, Error> {
    let system = dns::tokio::Transport::system(tcp_and_quic(identity, limits)?);
    match system {
        Ok(transport) => Ok(transport.boxed()),
        Err(error) => {
            tracing::warn!(%error, "no DNS: addresses with names cannot be dialled");
            tcp_and_quic(identity, limits)
        }
    }
}

fn tcp_and_quic(identity: &Identity, limits: &Limits) -> Result<Boxed<(PeerId, StreamMuxerBox)>, Error> {
    let noise = noise::Config::new(identity.keypair()).map_err(|error| Error::Transport(error.to_string()))?;
    let bandwidth = limits.bandwidth;
    let metered = {
        let limits = limits.clone();
        move |muxer: StreamMuxerBox| StreamMuxerBox::new(Metered::new(muxer, &limits))
    };
    let tcp = {
        let metered = metered.clone();
        tcp::tokio::Transport::new(tcp::Config::default().nodelay(true))
            // below yamux too: its own frames are charged as well
            .map(move |stream, _| Throttled::new(stream, bucket(bandwidth)))
            .upgrade(Version::V1Lazy)
            .authenticate(noise)
            .multiplex(Yamux)
            .timeout(limits.handshake)
            .map(move |(peer, muxer), _| (peer, metered(StreamMuxerBox::new(muxer))))
    };
    let quic = {
        let mut config = quic::Config::new(identity.keypair());
        config.handshake_timeout = limits.handshake;
        config.max_concurrent_stream_limit = MAX_STREAMS as u32;
        config.max_connection_data = QUIC_WINDOW;
        config.max_stream_data = QUIC_STREAM_WINDOW;
        quic::tokio::Transport::new(config).map(move |(peer, muxer), _| (peer, metered(StreamMuxerBox::new(muxer))))
    };
    Ok(tcp.or_transport(quic).map(|either, _| either.into_inner()).boxed())
}

fn bucket(rate: Rate) -> Arc<Mutex<Bucket>> {
    Arc::new(Mutex::new(Bucket::new(rate, Instant::now())))
}

/// A debt of a bucket, waited for.
#[derive(Default)]
struct Pause(Option<Pin<Box<Sleep>>>);

impl Pause {
    fn spend(&mut self, bucket: &Mutex<Bucket>, amount: usize) {
        let wait = bucket.lock().spend(amount as f64, Instant::now());
        if !wait.is_zero() {
            self.0 = Some(Box::pin(tokio::time::sleep(wait)));
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(sleep) = &mut self.0 {
            poll_ready!(sleep.as_mut().poll(cx));
            self.0 = None;
        }
        Poll::Ready(())
    }
}

/// A stream that is read no faster than its bucket allows.
struct Throttled<S> {
    inner: S,
    bucket: Arc<Mutex<Bucket>>,
    pause: Pause,
}

impl<S> Throttled<S> {
    fn new(inner: S, bucket: Arc<Mutex<Bucket>>) -> Self {
        Self { inner, bucket, pause: Pause::default() }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Throttled<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        poll_ready!(this.pause.poll(cx));
        let read = poll_ready!(Pin::new(&mut this.inner).poll_read(cx, buf))?;
        this.pause.spend(&this.bucket, read);
        Poll::Ready(Ok(read))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Throttled<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_close(cx)
    }
}

/// A connection whose streams share one bucket of bytes, and come no faster than another allows.
struct Metered {
    inner: StreamMuxerBox,
    bytes: Arc<Mutex<Bucket>>,
    streams: Arc<Mutex<Bucket>>,
    pause: Pause,
}

impl Metered {
    fn new(inner: StreamMuxerBox, limits: &Limits) -> Self {
        Self { inner, bytes: bucket(limits.bandwidth), streams: bucket(limits.streams), pause: Pause::default() }
    }
}

impl StreamMuxer for Metered {
    type Substream = Throttled<<StreamMuxerBox as StreamMuxer>::Substream>;
    type Error = io::Error;

    fn poll_inbound(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<Self::Substream>> {
        let this = &mut *self;
        poll_ready!(this.pause.poll(cx));
        let stream = poll_ready!(Pin::new(&mut this.inner).poll_inbound(cx))?;
        this.pause.spend(&this.streams, 1);
        Poll::Ready(Ok(Throttled::new(stream, this.bytes.clone())))
    }

    fn poll_outbound(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<Self::Substream>> {
        let stream = poll_ready!(Pin::new(&mut self.inner).poll_outbound(cx))?;
        Poll::Ready(Ok(Throttled::new(stream, self.bytes.clone())))
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_close(cx)
    }

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<StreamMuxerEvent>> {
        Pin::new(&mut self.inner).poll(cx)
    }
}

/// Yamux with windows that fit a hostile network. (libp2p's own wrapper leaves them at a gibibyte a connection.)
#[derive(Clone)]
struct Yamux;

impl Yamux {
    fn connection<C: AsyncRead + AsyncWrite + Unpin>(io: C, mode: yamux::Mode) -> YamuxMuxer<C> {
        let mut config = yamux::Config::default();
        config.set_max_num_streams(MAX_STREAMS);
        config.set_max_connection_receive_window(Some(YAMUX_WINDOW));
        YamuxMuxer { connection: yamux::Connection::new(io, config, mode), waiting: VecDeque::new(), waker: None }
    }
}

impl UpgradeInfo for Yamux {
    type Info = &'static str;
    type InfoIter = std::iter::Once<&'static str>;

    fn protocol_info(&self) -> Self::InfoIter {
        std::iter::once("/yamux/1.0.0")
    }
}

impl<C: AsyncRead + AsyncWrite + Send + Unpin + 'static> InboundConnectionUpgrade<C> for Yamux {
    type Output = YamuxMuxer<C>;
    type Error = io::Error;
    type Future = Ready<io::Result<Self::Output>>;

    fn upgrade_inbound(self, io: C, _: Self::Info) -> Self::Future {
        ready(Ok(Self::connection(io, yamux::Mode::Server)))
    }
}

impl<C: AsyncRead + AsyncWrite + Send + Unpin + 'static> OutboundConnectionUpgrade<C> for Yamux {
    type Output = YamuxMuxer<C>;
    type Error = io::Error;
    type Future = Ready<io::Result<Self::Output>>;

    fn upgrade_outbound(self, io: C, _: Self::Info) -> Self::Future {
        ready(Ok(Self::connection(io, yamux::Mode::Client)))
    }
}

struct YamuxMuxer<C> {
    connection: yamux::Connection<C>,
    /// Streams that came while the connection was driven for other reasons.
    waiting: VecDeque<yamux::Stream>,
    waker: Option<Waker>,
}

impl<C: AsyncRead + AsyncWrite + Unpin> YamuxMuxer<C> {
    fn next(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<yamux::Stream>> {
        match poll_ready!(self.connection.poll_next_inbound(cx)) {
            Some(stream) => Poll::Ready(stream.map_err(io::Error::other)),
            None => Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into())),
        }
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin> StreamMuxer for YamuxMuxer<C> {
    type Substream = yamux::Stream;
    type Error = io::Error;

    fn poll_inbound(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<yamux::Stream>> {
        if let Some(stream) = self.waiting.pop_front() {
            return Poll::Ready(Ok(stream));
        }
        let next = self.next(cx);
        if next.is_pending() {
            self.waker = Some(cx.waker().clone());
        }
        next
    }

    fn poll_outbound(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<yamux::Stream>> {
        self.connection.poll_new_outbound(cx).map_err(io::Error::other)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.connection.poll_close(cx).map_err(io::Error::other)
    }

    /// Drives the connection. Streams that nobody takes wait, or are reset where too many do.
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<StreamMuxerEvent>> {
        let stream = poll_ready!(self.next(cx))?;
        if self.waiting.len() < MAX_WAITING {
            self.waiting.push_back(stream);
            if let Some(waker) = self.waker.take() {
                waker.wake();
            }
        }
        // one stream a turn: others run in between
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::io::{AsyncReadExt, Cursor};
    use std::time::Duration;

    #[tokio::test]
    async fn reading_waits_for_the_rate() {
        let rate = bucket(Rate::new(1_000_000, 100_000));
        let began = Instant::now();
        // two streams share the rate of their connection
        for _ in 0..2 {
            let mut stream = Throttled::new(Cursor::new(vec![7; 150_000]), rate.clone());
            let mut read = vec![];
            stream.read_to_end(&mut read).await.unwrap();
            assert_eq!(read, vec![7; 150_000]);
        }
        assert!(began.elapsed() >= Duration::from_millis(190), "a burst at once, 200,000 bytes at a million a second");
    }

    #[test]
    fn windows_fit() {
        // would panic
        let limits = Limits::default();
        tokio::runtime::Runtime::new().unwrap().block_on(async { build(&Identity::generate(), &limits).unwrap() });
        drop(Yamux::connection(Cursor::new(vec![]), yamux::Mode::Server));
    }
}
