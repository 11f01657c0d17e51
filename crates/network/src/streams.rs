//! Streams of our own protocols: opened on connections that exist, and handed over when peers open them.
//!
//! A connection hands over at most [`MAX_WAITING`] streams ahead of the swarm's task, which decides at once what becomes of each.

use libp2p::{
    Multiaddr, PeerId, Stream, StreamProtocol,
    core::{Endpoint, transport::PortUse, upgrade::ReadyUpgrade, upgrade::SelectUpgrade},
    futures::future::Either,
    swarm::{
        ConnectionDenied, ConnectionHandler, ConnectionHandlerEvent, ConnectionId, FromSwarm, NetworkBehaviour,
        NotifyHandler, StreamUpgradeError, SubstreamProtocol, THandler, THandlerInEvent, THandlerOutEvent, ToSwarm,
        handler::ConnectionEvent,
    },
};
use std::{
    collections::VecDeque,
    task::{Context, Poll},
};
use tokio::sync::oneshot;

const MAX_WAITING: usize = 16;

/// One of our protocols.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// Messages among validators.
    Direct,
    /// A request and its answer.
    Request,
}

/// The names of both.
#[derive(Clone, Debug)]
pub(crate) struct Names {
    pub(crate) direct: StreamProtocol,
    pub(crate) request: StreamProtocol,
}

/// Who waits for a stream; an error says that the peer does not speak the protocol or the connection failed.
pub(crate) type Reply = oneshot::Sender<Result<Stream, crate::Error>>;

/// A peer opened a stream.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) peer: PeerId,
    pub(crate) protocol: Protocol,
    pub(crate) stream: Stream,
}

/// To a connection: open a stream.
#[derive(Debug)]
pub(crate) struct Open {
    protocol: Protocol,
    reply: Reply,
}

pub(crate) struct Streams {
    names: Names,
    actions: VecDeque<ToSwarm<Opened, Open>>,
}

impl Streams {
    pub(crate) fn new(names: Names) -> Self {
        Self { names, actions: VecDeque::new() }
    }

    /// Opens a stream on a connection with the peer. Without one, `reply` is dropped.
    pub(crate) fn open(&mut self, peer_id: PeerId, protocol: Protocol, reply: Reply) {
        let event = Open { protocol, reply };
        self.actions.push_back(ToSwarm::NotifyHandler { peer_id, handler: NotifyHandler::Any, event });
    }

    fn handler(&self) -> Handler {
        Handler { names: self.names.clone(), opening: VecDeque::new(), opened: VecDeque::new() }
    }
}

impl NetworkBehaviour for Streams {
    type ConnectionHandler = Handler;
    type ToSwarm = Opened;

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(self.handler())
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(self.handler())
    }

    fn on_swarm_event(&mut self, _: FromSwarm<'_>) {}

    fn on_connection_handler_event(&mut self, peer: PeerId, _: ConnectionId, event: THandlerOutEvent<Self>) {
        let (protocol, stream) = event;
        self.actions.push_back(ToSwarm::GenerateEvent(Opened { peer, protocol, stream }));
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Opened, THandlerInEvent<Self>>> {
        self.actions.pop_front().map_or(Poll::Pending, Poll::Ready)
    }
}

pub(crate) struct Handler {
    names: Names,
    opening: VecDeque<Open>,
    opened: VecDeque<(Protocol, Stream)>,
}

impl ConnectionHandler for Handler {
    type FromBehaviour = Open;
    type ToBehaviour = (Protocol, Stream);
    type InboundProtocol = SelectUpgrade<ReadyUpgrade<StreamProtocol>, ReadyUpgrade<StreamProtocol>>;
    type OutboundProtocol = ReadyUpgrade<StreamProtocol>;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = Reply;

    fn listen_protocol(&self) -> SubstreamProtocol<Self::InboundProtocol> {
        let (direct, request) = (self.names.direct.clone(), self.names.request.clone());
        SubstreamProtocol::new(SelectUpgrade::new(ReadyUpgrade::new(direct), ReadyUpgrade::new(request)), ())
    }

    fn poll(
        &mut self,
        _: &mut Context<'_>,
    ) -> Poll<ConnectionHandlerEvent<Self::OutboundProtocol, Reply, Self::ToBehaviour>> {
        if let Some(opened) = self.opened.pop_front() {
            return Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(opened));
        }
        if let Some(Open { protocol, reply }) = self.opening.pop_front() {
            let name = match protocol {
                Protocol::Direct => self.names.direct.clone(),
                Protocol::Request => self.names.request.clone(),
            };
            let protocol = SubstreamProtocol::new(ReadyUpgrade::new(name), reply);
            return Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest { protocol });
        }
        Poll::Pending
    }

    fn on_behaviour_event(&mut self, event: Open) {
        self.opening.push_back(event);
    }

    fn on_connection_event(
        &mut self,
        event: ConnectionEvent<'_, Self::InboundProtocol, Self::OutboundProtocol, (), Reply>,
    ) {
        // where nobody waits for a reply any more, the stream is dropped, which closes it
        match event {
            ConnectionEvent::FullyNegotiatedInbound(event) => {
                let opened = match event.protocol {
                    Either::Left(stream) => (Protocol::Direct, stream),
                    Either::Right(stream) => (Protocol::Request, stream),
                };
                if self.opened.len() < MAX_WAITING {
                    self.opened.push_back(opened);
                }
            }
            ConnectionEvent::FullyNegotiatedOutbound(event) => drop(event.info.send(Ok(event.protocol))),
            ConnectionEvent::DialUpgradeError(event) => {
                let error = match event.error {
                    StreamUpgradeError::Timeout => crate::Error::Timeout,
                    StreamUpgradeError::Io(error) => crate::Error::Connection(error),
                    StreamUpgradeError::NegotiationFailed => crate::Error::Unsupported,
                    StreamUpgradeError::Apply(never) => match never {},
                };
                drop(event.info.send(Err(error)));
            }
            _ => {}
        }
    }
}
