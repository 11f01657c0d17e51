//! Links of a network on one machine, shaped: delay, loss, and partitions, for TCP and UDP.
//!
//! Reads commands from standard input, one a line, and answers each with `ok` or `error: …` on standard output:
//!
//! ```text
//! link NAME tcp|udp LISTEN TARGET [DELAY_MS [LOSS_PERMILLE]]    forward LISTEN to TARGET, each way after the delay; loss is UDP's alone
//! delay NAME DELAY_MS
//! loss NAME LOSS_PERMILLE
//! hold NAME        bytes wait, connections stay: a partition
//! cut NAME         connections are closed, and new ones too
//! open NAME        as at first
//! stats            bytes forwarded by each link
//! ```
//!
//! NAME may end with `*`, for all links that begin so. At the end of input the relay stops. Nodes reach each other through the relay alone if they are
//! told the links' addresses: as `external`, and as validators' addresses.
//!
//! ```sh
//! echo 'link a-b tcp 127.0.0.1:9101 127.0.0.1:9001 50' | cargo run --release -p jove-network --example relay
//! ```
#![allow(clippy::print_stdout, clippy::unwrap_used)]

use std::{
    collections::{BTreeMap, HashMap},
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream, UdpSocket,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{mpsc, watch},
    time::{Instant, sleep_until},
};

/// Chunks on their way in one direction of one connection: 16 MiB.
const UNDER_WAY: usize = 1_024;
const CHUNK: usize = 16 << 10;
/// How long a UDP client's socket is kept without traffic.
const IDLE: Duration = Duration::from_secs(60);
const MAX_CLIENTS: usize = 1_024;

#[derive(Clone, Copy, PartialEq)]
enum State {
    Open,
    Held,
    Cut,
}

struct Link {
    target: SocketAddr,
    delay: AtomicU64,
    loss: AtomicU64,
    bytes: AtomicU64,
    random: AtomicU64,
    state: watch::Sender<State>,
}

impl Link {
    fn due(&self) -> Instant {
        Instant::now() + Duration::from_millis(self.delay.load(Ordering::Relaxed))
    }

    async fn opened(&self) {
        drop(self.state.subscribe().wait_for(|state| *state != State::Held).await);
    }

    async fn cut(&self) {
        drop(self.state.subscribe().wait_for(|state| *state == State::Cut).await);
    }

    /// Whether this packet is lost: splitmix64, so that a run repeats.
    fn loses(&self) -> bool {
        let mut z = self.random.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % 1_000 < self.loss.load(Ordering::Relaxed)
    }
}

async fn tcp(link: Arc<Link>, listener: TcpListener) {
    while let Ok((client, _)) = listener.accept().await {
        let link = link.clone();
        tokio::spawn(async move {
            if *link.state.borrow() == State::Cut {
                return;
            }
            let Ok(server) = TcpStream::connect(link.target).await else { return };
            let (_, _) = (client.set_nodelay(true), server.set_nodelay(true));
            let ((client_read, client_write), (server_read, server_write)) = (client.into_split(), server.into_split());
            tokio::select! {
                // a half that ends leaves the other: TCP closes by halves
                _ = async { tokio::join!(one_way(&link, client_read, server_write), one_way(&link, server_read, client_write)) } => {}
                () = link.cut() => {}
            }
        });
    }
}

async fn one_way(link: &Link, mut from: OwnedReadHalf, mut to: OwnedWriteHalf) {
    let (sender, mut receiver) = mpsc::channel::<(Instant, Vec<u8>)>(UNDER_WAY);
    let read = async move {
        let mut buffer = vec![0; CHUNK];
        while let Ok(read @ 1..) = from.read(&mut buffer).await {
            if sender.send((link.due(), buffer[..read].to_vec())).await.is_err() {
                return;
            }
        }
    };
    let write = async move {
        while let Some((due, bytes)) = receiver.recv().await {
            sleep_until(due).await;
            link.opened().await;
            if to.write_all(&bytes).await.is_err() {
                return;
            }
            link.bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        }
        drop(to.shutdown().await);
    };
    tokio::join!(read, write);
}

async fn udp(link: Arc<Link>, listener: UdpSocket) {
    let listener = Arc::new(listener);
    let mut clients: HashMap<SocketAddr, (Arc<UdpSocket>, Instant)> = HashMap::new();
    let mut buffer = vec![0; 65_536];
    loop {
        let Ok((read, client)) = listener.recv_from(&mut buffer).await else { continue };
        let now = Instant::now();
        if !clients.contains_key(&client) {
            clients.retain(|_, (_, used)| now - *used < IDLE);
            if clients.len() >= MAX_CLIENTS {
                continue;
            }
            let local = if link.target.is_ipv4() { "127.0.0.1:0" } else { "[::1]:0" };
            let Ok(socket) = UdpSocket::bind(local).await else { continue };
            if socket.connect(link.target).await.is_err() {
                continue;
            }
            let socket = Arc::new(socket);
            clients.insert(client, (socket.clone(), now));
            let (link, listener) = (link.clone(), listener.clone());
            tokio::spawn(async move {
                let mut buffer = vec![0; 65_536];
                while let Ok(Ok(read)) = tokio::time::timeout(IDLE, socket.recv(&mut buffer)).await {
                    packet(&link, listener.clone(), Some(client), buffer[..read].to_vec());
                }
            });
        }
        if let Some((socket, used)) = clients.get_mut(&client) {
            *used = now;
            packet(&link, socket.clone(), None, buffer[..read].to_vec());
        }
    }
}

fn packet(link: &Arc<Link>, socket: Arc<UdpSocket>, to: Option<SocketAddr>, bytes: Vec<u8>) {
    // a packet that meets a closed link is lost
    if *link.state.borrow() != State::Open || link.loses() {
        return;
    }
    let (link, due) = (link.clone(), link.due());
    tokio::spawn(async move {
        sleep_until(due).await;
        let sent = match to {
            Some(to) => socket.send_to(&bytes, to).await,
            None => socket.send(&bytes).await,
        };
        link.bytes.fetch_add(sent.unwrap_or(0) as u64, Ordering::Relaxed);
    });
}

type Links = BTreeMap<String, Arc<Link>>;

async fn command(links: &mut Links, line: &str) -> Result<String, String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let number = |word: &str| word.parse::<u64>().map_err(|_| format!("not a number: {word}"));
    match words[..] {
        ["link", name, kind, listen, target, ref rest @ ..] if rest.len() <= 2 && !links.contains_key(name) => {
            let address = |text: &str| text.parse::<SocketAddr>().map_err(|_| format!("not an address: {text}"));
            let link = Arc::new(Link {
                target: address(target)?,
                delay: AtomicU64::new(rest.first().map_or(Ok(0), |word| number(word))?),
                loss: AtomicU64::new(rest.get(1).map_or(Ok(0), |word| number(word))?),
                bytes: AtomicU64::new(0),
                random: AtomicU64::new(links.len() as u64),
                state: watch::Sender::new(State::Open),
            });
            let listen = address(listen)?;
            let failed = |error: io::Error| format!("{listen}: {error}");
            match kind {
                "tcp" => drop(tokio::spawn(tcp(link.clone(), TcpListener::bind(listen).await.map_err(failed)?))),
                "udp" => drop(tokio::spawn(udp(link.clone(), UdpSocket::bind(listen).await.map_err(failed)?))),
                _ => return Err("a link is tcp or udp".to_owned()),
            }
            links.insert(name.to_owned(), link);
        }
        ["stats"] => {
            let line = |(name, link): (&String, &Arc<Link>)| format!("{name}={}", link.bytes.load(Ordering::Relaxed));
            return Ok(format!("ok {}", links.iter().map(line).collect::<Vec<_>>().join(" ")));
        }
        [verb, name, ref rest @ ..] if rest.len() <= 1 => {
            let chosen: Vec<_> = match name.strip_suffix('*') {
                Some(prefix) => links.iter().filter(|(name, _)| name.starts_with(prefix)).map(|(_, l)| l).collect(),
                None => links.get(name).into_iter().collect(),
            };
            if chosen.is_empty() {
                return Err(format!("no link {name}"));
            }
            let change: Box<dyn Fn(&Link)> = match (verb, rest) {
                ("delay", [value]) => {
                    let value = number(value)?;
                    Box::new(move |link| link.delay.store(value, Ordering::Relaxed))
                }
                ("loss", [value]) => {
                    let value = number(value)?;
                    Box::new(move |link| link.loss.store(value, Ordering::Relaxed))
                }
                ("hold", []) => Box::new(|link| {
                    link.state.send_replace(State::Held);
                }),
                ("cut", []) => Box::new(|link| {
                    link.state.send_replace(State::Cut);
                }),
                ("open", []) => Box::new(|link| {
                    link.state.send_replace(State::Open);
                }),
                _ => return Err(format!("not a command: {line}")),
            };
            chosen.into_iter().for_each(|link| change(link));
        }
        _ => return Err(format!("not a command, or the link is there: {line}")),
    }
    Ok("ok".to_owned())
}

#[tokio::main]
async fn main() {
    let (sender, mut lines) = mpsc::channel(16);
    std::thread::spawn(move || {
        for line in io::stdin().lines().map_while(Result::ok) {
            if sender.blocking_send(line).is_err() {
                return;
            }
        }
    });
    let mut links = Links::new();
    while let Some(line) = lines.recv().await {
        if !line.trim().is_empty() {
            println!("{}", command(&mut links, &line).await.unwrap_or_else(|error| format!("error: {error}")));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn echo() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut read, mut write) = stream.split();
                    tokio::io::copy(&mut read, &mut write).await
                });
            }
        });
        address
    }

    /// A free port, of addresses that nobody else takes one of meanwhile.
    fn free() -> SocketAddr {
        std::net::TcpListener::bind("127.0.0.10:0").unwrap().local_addr().unwrap()
    }

    async fn ask(stream: &mut TcpStream) -> io::Result<[u8; 4]> {
        stream.write_all(b"ping").await?;
        let mut answer = [0; 4];
        stream.read_exact(&mut answer).await?;
        Ok(answer)
    }

    #[tokio::test]
    async fn delays_holds_and_cuts() {
        let (target, listen) = (echo().await, free());
        let mut links = Links::new();
        let mut run = async |line: String| command(&mut links, &line).await;
        run(format!("link a-b tcp {listen} {target} 40")).await.unwrap();
        let mut stream = TcpStream::connect(listen).await.unwrap();
        let began = Instant::now();
        assert_eq!(&ask(&mut stream).await.unwrap(), b"ping");
        assert!(began.elapsed() >= Duration::from_millis(80), "40 ms each way");
        run("delay a* 0".to_owned()).await.unwrap();
        run("hold *".to_owned()).await.unwrap();
        let held = tokio::time::timeout(Duration::from_millis(200), ask(&mut stream)).await;
        assert!(held.is_err(), "nothing passes");
        run("open a-b".to_owned()).await.unwrap();
        let mut answer = [0; 4];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"ping", "nothing is lost");
        run("cut a-b".to_owned()).await.unwrap();
        assert!(ask(&mut stream).await.is_err());
        let mut refused = TcpStream::connect(listen).await.unwrap();
        assert!(ask(&mut refused).await.is_err());
        assert!(run("stats".to_owned()).await.unwrap().starts_with("ok a-b="));
        for wrong in ["", "link", "cut nobody", "delay a-b x", "link c sctp 127.0.0.1:1 127.0.0.1:2", "shout a-b"] {
            assert!(run(wrong.to_owned()).await.is_err(), "{wrong}");
        }
    }

    #[tokio::test]
    async fn loses_packets() {
        let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let (target, listen) = (server.local_addr().unwrap(), free());
        let mut links = Links::new();
        command(&mut links, &format!("link u udp {listen} {target} 1 300")).await.unwrap();
        let arrived = Arc::new(AtomicU64::new(0));
        let (link, count) = (links["u"].clone(), arrived.clone());
        tokio::spawn(async move {
            while server.recv(&mut [0; 9]).await.is_ok() {
                count.fetch_add(1, Ordering::Relaxed);
            }
        });
        let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let passing = async {
            for _ in 0..1_000 {
                let before = link.random.load(Ordering::Relaxed);
                client.send_to(b"x", listen).await.unwrap();
                // one at a time: the kernel loses none
                while link.random.load(Ordering::Relaxed) == before {
                    tokio::task::yield_now().await;
                }
            }
            while arrived.load(Ordering::Relaxed) < 600 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), passing).await.unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
        let arrived = arrived.load(Ordering::Relaxed);
        assert!(arrived <= 800, "{arrived}");
    }
}
