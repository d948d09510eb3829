//! Whether something on this host uses a port already. The registry knows what it gave out, and nothing of what else
//! listens here, so the port is tried before the command gets it.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, TcpListener, UdpSocket};

/// Tries a port on every address of this host, and says how it is in use, if it is. The answer is as of now: nothing
/// keeps another program from taking the port a moment later, except that it should have asked the registry.
///
/// A listener has SO_REUSEADDR, as those of almost every server do: connections of an earlier server that linger in
/// TIME_WAIT do not count, one that listens does. Where the earlier server's had it not, the system refuses all the same,
/// and its list of connections says that nobody holds them.
pub(super) fn in_use(port: u16) -> Option<&'static str> {
    let (v4, v6) = ((Ipv4Addr::UNSPECIFIED, port), (Ipv6Addr::UNSPECIFIED, port));
    // Any other error says something about this host and not about the port: that it has no IPv6, for example.
    let is_taken = |tried: io::Result<()>| tried.is_err_and(|error| error.kind() == io::ErrorKind::AddrInUse);
    // One after another, and each closed before the next: the one for IPv6 takes IPv4 as well on many systems.
    if is_taken(TcpListener::bind(v4).map(drop)) && !only_lingers(port) {
        Some("TCP over IPv4")
    } else if is_taken(TcpListener::bind(v6).map(drop)) && !only_lingers(port) {
        Some("TCP over IPv6")
    } else if is_taken(UdpSocket::bind(v4).map(drop)) {
        Some("UDP over IPv4")
    } else if is_taken(UdpSocket::bind(v6).map(drop)) {
        Some("UDP over IPv6")
    } else {
        None
    }
}

/// Whether a port has nothing but connections that no process has any more. The system closes them in a minute.
fn only_lingers(port: u16) -> bool {
    #[cfg(target_os = "linux")]
    {
        let all = [procfs::net::tcp(), procfs::net::tcp6()];
        let mut here = all.into_iter().flatten().flatten().filter(|one| one.local_address.port() == port).peekable();
        // A socket that is bound and does not listen is not listed.
        here.peek().is_some() && here.all(|one| one.inode == 0)
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = port;
        false
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_port_is_in_use_whatever_uses_it_on_whichever_address() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        assert_eq!(in_use(port), Some("TCP over IPv4"));
        drop(listener);
        assert_eq!(in_use(port), None, "nothing is left of the listener, nor of the earlier try");

        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        assert_eq!(in_use(socket.local_addr().unwrap().port()), Some("UDP over IPv4"));

        // Where the host has IPv6.
        if let Ok(listener) = TcpListener::bind("[::1]:0") {
            assert_eq!(in_use(listener.local_addr().unwrap().port()), Some("TCP over IPv6"));
        }
    }

    #[test]
    fn a_connection_that_lingers_is_no_use_of_the_port() {
        use std::io::Read as _;
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let mut client = std::net::TcpStream::connect(address).unwrap();
        // Who closes first lingers: the server's side.
        drop(listener.accept().unwrap());
        assert_eq!(client.read(&mut [0]).unwrap(), 0);
        drop((client, listener));
        assert_eq!(in_use(address.port()), None);
    }
    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn nor_is_that_of_a_server_that_did_not_want_its_address_to_be_reused() {
        use tokio::io::AsyncReadExt as _;
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        assert!(!socket.reuseaddr().unwrap());
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(1).unwrap();
        let address = listener.local_addr().unwrap();
        let mut client = tokio::net::TcpStream::connect(address).await.unwrap();
        let (accepted, _) = listener.accept().await.unwrap();
        drop(listener);
        assert_eq!(in_use(address.port()), Some("TCP over IPv4"), "somebody has the connection");
        drop(accepted);
        // The client still has its side.
        assert_eq!(in_use(address.port()), None);
        assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
        drop(client);
        assert!(TcpListener::bind(address).is_err(), "the system refuses it");
        assert_eq!(in_use(address.port()), None);
    }
}
