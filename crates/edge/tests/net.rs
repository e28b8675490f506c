//! Wires on loopback.

use std::net::SocketAddr;
use std::time::Duration;

use postrider_edge::{ClientTls, TcpListenerDoor, TcpNet};
use postrider_model::doors::{Listener, Net, NetTrouble};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const SECOND: Duration = Duration::from_secs(1);

fn net() -> TcpNet {
    TcpNet::new(ClientTls::with_system_roots().unwrap(), None)
}

fn listener() -> TcpListenerDoor {
    TcpListenerDoor::bind("127.0.0.1:0".parse().unwrap()).unwrap()
}

#[tokio::test]
async fn a_connection_comes_from_where_it_was_told_and_writes_scattered_buffers() {
    let (net, listener) = (net(), listener());
    for from in ["127.0.0.1", "127.0.0.2"] {
        let from = Some(from.parse().unwrap());
        let (near, far) = tokio::join!(net.dial(from, listener.address(), SECOND), listener.accept());
        let (mut near, (mut far, peer)) = (near.unwrap(), far.unwrap());
        assert_eq!((Some(peer.remote.ip()), peer.local), (from, listener.address()));
        assert!(near.is_write_vectored() && far.is_write_vectored());
        let slices = [std::io::IoSlice::new(b"MAIL "), std::io::IoSlice::new(b"FROM")];
        assert_eq!(near.write_vectored(&slices).await.unwrap(), 9);
        near.shutdown().await.unwrap();
        let mut received = Vec::new();
        far.read_to_end(&mut received).await.unwrap();
        assert_eq!(received, b"MAIL FROM");
    }
}

#[tokio::test]
async fn trouble_is_told_by_who_caused_it() {
    let net = net();
    let dial = async |from: Option<&str>, to: SocketAddr| net.dial(from.map(|from| from.parse().unwrap()), to, SECOND).await.err();
    let closed = listener().address();
    assert_eq!(dial(None, closed).await, Some(NetTrouble::Refused));
    let open = listener();
    assert!(matches!(dial(Some("192.0.2.77"), open.address()).await, Some(NetTrouble::Source(_))), "not an address of ours");
    assert!(matches!(dial(Some("::1"), open.address()).await, Some(NetTrouble::Source(_))), "another family");
    assert_eq!(dial(Some("127.0.0.1"), open.address()).await, None, "the control");
}

#[tokio::test]
async fn a_silent_way_times_out() {
    // A listener that takes nobody and whose queue is full lets the kernel drop what comes after.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into()).unwrap();
    socket.listen(0).unwrap();
    let to = socket.local_addr().unwrap().as_socket().unwrap();
    let net = net();
    let mut held = Vec::new();
    for _ in 0..8 {
        match net.dial(None, to, Duration::from_millis(50)).await {
            Ok(connection) => held.push(connection),
            Err(trouble) => {
                assert_eq!(trouble, NetTrouble::TimedOut);
                return;
            }
        }
    }
    panic!("the queue never filled");
}

#[tokio::test]
async fn a_port_is_free_again_at_once_and_both_families_stand_side_by_side() {
    let first = listener();
    let address = first.address();
    let net = net();
    let (near, far) = tokio::join!(net.dial(None, address, SECOND), first.accept());
    let (far, _) = far.unwrap();
    // Our side closes first, so the port has a connection in TIME_WAIT.
    drop((far, first));
    drop(near);
    let second = TcpListenerDoor::bind(address).expect("the port is free again");
    assert!(TcpListenerDoor::bind(address).is_err(), "but not while one listens");
    if let Ok(third) = TcpListenerDoor::bind(SocketAddr::new("::".parse().unwrap(), address.port())) {
        assert_eq!(third.address().port(), second.address().port());
    }
}

#[tokio::test]
async fn a_client_that_leaves_at_once_is_no_trouble_of_the_listener() {
    let (net, listener) = (net(), listener());
    for _ in 0..20 {
        drop(net.dial(None, listener.address(), SECOND).await.unwrap());
    }
    for _ in 0..20 {
        assert!(listener.accept().await.is_ok());
    }
}

#[tokio::test]
async fn without_a_certificate_nothing_is_secured() {
    let (net, listener) = (net(), listener());
    let (_near, far) = tokio::join!(net.dial(None, listener.address(), SECOND), listener.accept());
    assert!(matches!(net.accept_secure(far.unwrap().0).await, Err(NetTrouble::Tls(_))));
}
