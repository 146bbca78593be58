//! The distribution server (Debian's `docker-registry`), started for one test with a login and TLS.

#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::tls;

/// User `me`, password `hunter2`.
const PASSWORDS: &str = "me:$2b$04$Tga5dW0.VHlfR9CoPuublOS4Wh8ctABZ3KbYZaXUWd182yLGpRvuK\n";

pub struct RealRegistry {
    /// `127.0.0.1:port`
    pub address: String,
    process: Child,
}

impl RealRegistry {
    /// A registry that keeps its data in `directory`; `None`, with the reason printed, when a part is missing.
    pub fn start(directory: &Path) -> Option<Self> {
        if !tls::make_certificates(directory) {
            return None;
        }
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        drop(listener);
        let here = directory.display();
        std::fs::write(directory.join("passwords"), PASSWORDS).unwrap();
        let configuration = format!(
            "version: 0.1\n\
             log: {{level: error, accesslog: {{disabled: true}}}}\n\
             storage: {{filesystem: {{rootdirectory: {here}/data}}, delete: {{enabled: true}}}}\n\
             auth: {{htpasswd: {{realm: test, path: {here}/passwords}}}}\n\
             http: {{addr: \"{address}\", tls: {{certificate: {here}/server.pem, key: {here}/server.key}}}}\n"
        );
        std::fs::write(directory.join("config.yml"), configuration).unwrap();
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(directory.join("config.yml")).stdout(Stdio::null()).stderr(Stdio::null());
        match command.spawn() {
            Ok(process) => Some(Self { address, process }),
            Err(_) => {
                eprintln!("skipped: the program `docker-registry` is not installed");
                None
            }
        }
    }
}

impl Drop for RealRegistry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
