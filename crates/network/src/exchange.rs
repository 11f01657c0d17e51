//! Requests and their answers, for whatever peers have to catch up on.
//!
//! A request is a stream of its own, `/jove/CHAIN/GENESIS/request/1`: the asking side writes one message ([`frame`]) and closes its half; the other
//! answers with one byte, 0, and one message, or with the byte 1: refused. A stream that is reset or closed before that means busy, or that this peer asks too
//! often. What a message says is the host's affair; answers of many megabytes are the host's to page.

use crate::{
    Error, Event, Limits,
    counters::Counters,
    events::Delivery,
    frame,
    peers::{Offence, Peers},
};
use bytes::Bytes;
use futures_util::io::{AsyncReadExt, AsyncWriteExt};
use libp2p::{PeerId, Stream};
use parking_lot::Mutex;
use std::{io, sync::Arc, time::Instant};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, oneshot},
    time::timeout,
};

const ANSWERED: u8 = 0;
const REFUSED: u8 = 1;

/// Where the answer to a request goes.
#[derive(Debug)]
pub struct Responder {
    reply: oneshot::Sender<Bytes>,
    max: usize,
}

impl Responder {
    /// Answers. Who asked may be gone; that is no error.
    ///
    /// # Errors
    /// [`Error::TooLarge`] if the answer is above [`Limits::answer_size`](crate::Limits::answer_size): the request is refused.
    pub fn answer(self, bytes: Bytes) -> Result<(), Error> {
        if bytes.len() > self.max {
            return Err(Error::TooLarge { size: bytes.len(), max: self.max });
        }
        drop(self.reply.send(bytes));
        Ok(())
    }

    /// Refuses, as dropping it does.
    pub fn refuse(self) {}
}

/// What serving a request needs.
#[derive(Clone)]
pub(crate) struct Server {
    pub(crate) peers: Arc<Mutex<Peers>>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) delivery: Delivery,
    pub(crate) limits: Arc<Limits>,
    /// Requests that may be served at once.
    pub(crate) places: Arc<Semaphore>,
    /// Bytes of answers that may be written at once.
    pub(crate) answers: Arc<Semaphore>,
}

/// A request's place; gives it back.
pub(crate) struct Place {
    peers: Arc<Mutex<Peers>>,
    peer: PeerId,
    _place: OwnedSemaphorePermit,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.peers.lock().release_serving(&self.peer);
    }
}

impl Server {
    /// A place for one more request of the peer, if there is one.
    pub(crate) fn place(&self, peer: PeerId) -> Option<Place> {
        let place = self.places.clone().try_acquire_owned().ok()?;
        self.peers.lock().hold_serving(&peer).then(|| Place { peers: self.peers.clone(), peer, _place: place })
    }

    /// Serves one request.
    pub(crate) async fn serve(self, place: Place, stream: Stream) {
        let peer = place.peer;
        match self.exchange(peer, stream).await {
            Ok(()) => self.counters.requests_served.one(),
            Err(error) => {
                self.counters.requests_failed.one();
                tracing::debug!(%peer, %error, "request given up");
                if matches!(error, Error::TooLarge { .. }) {
                    self.peers.lock().report(&peer, Offence::Malformed, Instant::now());
                }
            }
        }
    }

    async fn exchange(&self, from: PeerId, mut stream: Stream) -> Result<(), Error> {
        let limits = &self.limits;
        let request = frame::read(&mut stream, limits.request_size, limits.stall);
        let bytes = timeout(frame::patience(limits.request_size, limits.stall), request)
            .await
            .map_err(|_| Error::Timeout)??;
        let (reply, answer) = oneshot::channel();
        let size = bytes.len();
        let asked = async {
            let responder = Responder { reply, max: limits.answer_size };
            self.delivery.send(Event::Request { from, bytes, responder }, size).await;
            answer.await
        };
        let Ok(answer) = timeout(limits.stall, asked).await.map_err(|_| Error::Timeout)? else {
            let refuse = async {
                stream.write_all(&[REFUSED]).await?;
                stream.close().await
            };
            return Ok(timeout(limits.stall, refuse).await.map_err(|_| Error::Timeout)??);
        };
        let size = u32::try_from(answer.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        // where slow readers hold all the room for answers, the stream is reset: busy
        let _room = self.answers.clone().try_acquire_many_owned(size).map_err(|_| Error::Congested)?;
        let write = async {
            stream.write_all(&[ANSWERED]).await?;
            frame::write(&mut stream, &answer).await?;
            stream.close().await
        };
        Ok(timeout(frame::patience(answer.len(), limits.stall), write).await.map_err(|_| Error::Timeout)??)
    }
}

/// Asks over an open stream.
pub(crate) async fn ask(mut stream: Stream, request: &[u8], limits: &Limits) -> Result<Bytes, Error> {
    frame::write(&mut stream, request).await?;
    stream.close().await?;
    let mut status = [0];
    match stream.read(&mut status).await {
        Ok(1) if status == [ANSWERED] => frame::read(&mut stream, limits.answer_size, limits.stall).await,
        Ok(1) => Err(Error::Refused),
        _ => Err(Error::Busy),
    }
}
