//! Whether something on this host uses a port already. The registry knows what it gave out, and nothing of what else
//! listens here, so the port is tried before the command gets it.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, TcpListener, UdpSocket};

/// Tries a port on every address of this host, and says how it is in use, if it is. The answer is as of now: nothing
/// keeps another program from taking the port a moment later, except that it should have asked the registry.
///
/// A listener has SO_REUSEADDR, as those of almost every server do: connections of an earlier server that linger in
/// TIME_WAIT do not count, one that listens does.
pub(super) fn in_use(port: u16) -> Option<&'static str> {
    let (v4, v6) = ((Ipv4Addr::UNSPECIFIED, port), (Ipv6Addr::UNSPECIFIED, port));
    // Any other error says something about this host and not about the port: that it has no IPv6, for example.
    let is_taken = |tried: io::Result<()>| tried.is_err_and(|error| error.kind() == io::ErrorKind::AddrInUse);
    // One after another, and each closed before the next: the one for IPv6 takes IPv4 as well on many systems.
    if is_taken(TcpListener::bind(v4).map(drop)) {
        Some("TCP over IPv4")
    } else if is_taken(TcpListener::bind(v6).map(drop)) {
        Some("TCP over IPv6")
    } else if is_taken(UdpSocket::bind(v4).map(drop)) {
        Some("UDP over IPv4")
    } else if is_taken(UdpSocket::bind(v6).map(drop)) {
        Some("UDP over IPv6")
    } else {
        None
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
}
