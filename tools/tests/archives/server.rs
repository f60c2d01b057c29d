//! An S3-compatible server for a test: moto, of the tests' Python environment. It keeps objects in memory, and honours
//! `If-None-Match`.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(60);

/// A server, as long as this lives.
pub struct Server {
    process: Child,
    port: u16,
}

impl Server {
    pub fn start() -> Server {
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
        let python = target.join("venv-server/bin/python");
        assert!(
            python.exists(),
            "{} is missing; run `cargo xtask setup` once, it makes it",
            python.display()
        );
        // Free a moment ago.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut command = Command::new(python);
        command.args(["-B", "-m", "moto.server", "-H", "127.0.0.1", "-p", &port.to_string()]);
        let process =
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let mut server = Server { process, port };
        let start = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            let ended = server.process.try_wait().unwrap();
            assert!(ended.is_none(), "moto ended: {ended:?}");
            assert!(start.elapsed() < PATIENCE, "moto does not answer");
            std::thread::sleep(Duration::from_millis(20));
        }
        server
    }

    pub fn make_bucket(&self, name: &str) {
        let answer = self.request("PUT", &format!("/{name}"), &[]);
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }

    /// A request without credentials, which this server does not ask for.
    pub fn request(&self, method: &str, path: &str, body: &[u8]) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        let (host, length) = (format!("127.0.0.1:{}", self.port), body.len());
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(body).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// What leads clients here.
    pub fn environment(&self) -> [(&'static str, String); 5] {
        [
            ("AWS_ENDPOINT_URL", format!("http://127.0.0.1:{}", self.port)),
            ("AWS_ALLOW_HTTP", "true".to_string()),
            ("AWS_REGION", "us-east-1".to_string()),
            ("AWS_ACCESS_KEY_ID", "test".to_string()),
            ("AWS_SECRET_ACCESS_KEY", "test".to_string()),
        ]
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
