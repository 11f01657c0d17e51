//! The door: [`Peers`] asked about each connection, and those closed that it wants gone.

use crate::peers::{Peers, Refusal};
use libp2p::{
    Multiaddr, PeerId,
    core::{ConnectedPoint, Endpoint, transport::PortUse},
    swarm::{
        CloseConnection, ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler, THandlerInEvent,
        THandlerOutEvent, ToSwarm, dummy,
    },
};
use parking_lot::Mutex;
use std::{
    collections::VecDeque,
    convert::Infallible,
    sync::Arc,
    task::{Context, Poll},
    time::Instant,
};

pub(crate) struct Gate {
    peers: Arc<Mutex<Peers>>,
    refused: Box<dyn Fn() + Send>,
    closing: VecDeque<PeerId>,
}

impl Gate {
    pub(crate) fn new(peers: Arc<Mutex<Peers>>, refused: impl Fn() + Send + 'static) -> Self {
        Self { peers, refused: Box::new(refused), closing: VecDeque::new() }
    }

    fn answer(&self, admitted: Result<(), Refusal>) -> Result<(), ConnectionDenied> {
        admitted.map_err(|refusal| {
            (self.refused)();
            tracing::debug!(%refusal, "connection refused");
            ConnectionDenied::new(refusal)
        })
    }
}

impl NetworkBehaviour for Gate {
    type ConnectionHandler = dummy::ConnectionHandler;
    type ToSwarm = Infallible;

    fn handle_pending_inbound_connection(
        &mut self,
        id: ConnectionId,
        _: &Multiaddr,
        from: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        let admitted = self.peers.lock().knock(id, from, Instant::now());
        self.answer(admitted)
    }

    fn handle_established_inbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        from: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        let admitted = {
            let mut peers = self.peers.lock();
            peers.knocked(id);
            peers.admit(&peer, from, true, Instant::now())
        };
        self.answer(admitted).map(|()| dummy::ConnectionHandler)
    }

    fn handle_pending_outbound_connection(
        &mut self,
        _: ConnectionId,
        peer: Option<PeerId>,
        _: &[Multiaddr],
        _: Endpoint,
    ) -> Result<Vec<Multiaddr>, ConnectionDenied> {
        // what is not let in is not dialled either; room is asked for now, so that a full node does not dial in vain
        let refusal = peer.and_then(|peer| {
            let mut peers = self.peers.lock();
            peers.admit(&peer, &Multiaddr::empty(), false, Instant::now()).err()
        });
        match refusal {
            Some(refusal) => Err(ConnectionDenied::new(refusal)),
            None => Ok(vec![]),
        }
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        peer: PeerId,
        address: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        let admitted = self.peers.lock().admit(&peer, address, false, Instant::now());
        self.answer(admitted).map(|()| dummy::ConnectionHandler)
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionEstablished(event) => {
                let (address, inbound) = match event.endpoint {
                    ConnectedPoint::Dialer { address, .. } => (address, false),
                    ConnectedPoint::Listener { send_back_addr, .. } => (send_back_addr, true),
                };
                let mut peers = self.peers.lock();
                peers.connected_by(event.connection_id, event.peer_id, address.clone(), inbound, Instant::now());
            }
            FromSwarm::ConnectionClosed(event) => {
                self.peers.lock().disconnected(event.connection_id, &event.peer_id);
            }
            FromSwarm::ListenFailure(event) => self.peers.lock().knocked(event.connection_id),
            _ => {}
        }
    }

    fn on_connection_handler_event(&mut self, _: PeerId, _: ConnectionId, event: THandlerOutEvent<Self>) {
        match event {}
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<Infallible, THandlerInEvent<Self>>> {
        self.closing.extend(self.peers.lock().take_closing(cx.waker()));
        match self.closing.pop_front() {
            Some(peer_id) => Poll::Ready(ToSwarm::CloseConnection { peer_id, connection: CloseConnection::All }),
            None => Poll::Pending,
        }
    }
}
