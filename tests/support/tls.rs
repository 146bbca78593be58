//! A TLS server with a certificate of its own authority.

#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// Writes `ca.pem`, and `server.pem` and `server.key` for 127.0.0.1 signed by it; `false`, with the reason printed, when
/// the program `openssl` is missing.
pub fn make_certificates(directory: &Path) -> bool {
    let openssl = |arguments: &str| {
        let output = Command::new("openssl").current_dir(directory).args(arguments.split_whitespace()).output();
        output.is_ok_and(|output| output.status.success())
    };
    let made = openssl("req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=ca -keyout ca.key -out ca.pem")
        && openssl(
            "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=server -CA ca.pem -CAkey ca.key \
             -addext basicConstraints=critical,CA:FALSE -addext subjectAltName=IP:127.0.0.1 \
             -keyout server.key -out server.pem",
        );
    if !made {
        eprintln!("skipped: the program `openssl` (3.0 or newer) is needed to make a certificate");
    }
    made
}

/// Serves `body` to every request, until the test ends.
pub fn serve(directory: &Path, body: &'static str) -> SocketAddr {
    let certificate = CertificateDer::from_pem_file(directory.join("server.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_file(directory.join("server.key")).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let config = config.clone();
            std::thread::spawn(move || answer_one(stream, config, body));
        }
    });
    address
}

fn answer_one(stream: TcpStream, config: Arc<ServerConfig>, body: &str) -> std::io::Result<()> {
    let connection = ServerConnection::new(config).map_err(std::io::Error::other)?;
    let mut reader = BufReader::new(StreamOwned::new(connection, stream));
    let mut line = String::new();
    while reader.read_line(&mut line)? > 2 {
        line.clear();
    }
    let length = body.len();
    let stream = reader.get_mut();
    write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}")?;
    stream.conn.send_close_notify();
    stream.flush()
}
