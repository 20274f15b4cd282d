//! A loopback port that stays ours while nobody listens on it.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
};

use tokio::net::{TcpListener, TcpSocket};

/// Connections that may wait to be accepted.
const BACKLOG: u32 = 4096;

/// A bound socket that never listens. Whoever connects meanwhile is refused, and the kernel gives the port to no
/// outgoing connection: a client that comes back to a dead replica would else take it, or meet itself there. Who binds
/// it as well with `SO_REUSEADDR`, as tokio and Redis do, may listen.
#[derive(Debug)]
pub struct Port {
    address: SocketAddr,
    _bound: TcpSocket,
}

impl Port {
    /// Takes a free one.
    ///
    /// # Errors
    /// The system's.
    pub fn reserve() -> io::Result<Self> {
        let bound = bind((Ipv4Addr::LOCALHOST, 0).into())?;
        Ok(Self { address: bound.local_addr()?, _bound: bound })
    }

    /// With its number.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Listens on it, until the listener is dropped.
    ///
    /// # Errors
    /// The system's.
    pub fn listen(&self) -> io::Result<TcpListener> {
        bind(self.address)?.listen(BACKLOG)
    }
}

fn bind(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use tokio::net::TcpStream;

    use super::*;

    #[tokio::test]
    async fn it_refuses_listens_and_refuses_again() {
        let port = Port::reserve().expect("a free port");
        let refused = || async {
            let error = TcpStream::connect(port.address()).await.expect_err("nobody listens");
            assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        };
        for _ in 0..3 {
            refused().await;
            let listener = port.listen().expect("it is ours");
            let (accepted, connected) = tokio::join!(listener.accept(), TcpStream::connect(port.address()));
            drop((accepted.expect("accepts"), connected.expect("connects"), listener));
        }
        refused().await;
    }
}
