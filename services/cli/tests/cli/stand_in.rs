//! A service that misbehaves on request, for what a real one should never do.
//!
//! It is this test program itself, started by a script beside a copy of `synapse`.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};

use crate::running::clean;

/// The variable that says how to misbehave.
const BEHAVIOUR: &str = "STAND_IN";

/// A folder with `synapse`, and a `synapse-gateway` that does as it is told.
pub(crate) struct Installation {
    folder: TempDir,
}

impl Installation {
    /// Installs both; a copy, because `synapse` looks for services beside itself.
    pub(crate) fn new() -> Self {
        let folder = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        fs::hard_link(env!("CARGO_BIN_EXE_synapse"), folder.path().join("synapse")).unwrap();
        let service = folder.path().join("synapse-gateway");
        let own = std::env::current_exe().unwrap();
        let own = own.display();
        let script =
            format!("#!/bin/sh\nexec '{own}' --exact stand_in::stand_in_service --ignored --nocapture -q\n");
        fs::write(&service, script).unwrap();
        fs::set_permissions(&service, fs::Permissions::from_mode(0o755)).unwrap();
        Self { folder }
    }

    /// `synapse up` on data of its own, with a service of this behaviour.
    pub(crate) fn up(&self, behaviour: &str) -> Command {
        let mut command = clean(&self.folder.path().join("synapse"));
        command
            .args(["up", "--data-dir"])
            .arg(self.data_dir())
            .env("SYNAPSE_GATEWAY_PORT", "0")
            .env(format!("SYNAPSE_GATEWAY_{BEHAVIOUR}"), behaviour);
        command
    }

    pub(crate) fn data_dir(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// A file whose being there says something to the service.
    pub(crate) fn flag(&self) -> PathBuf {
        self.folder.path().join("flag")
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }
}

/// Not a test: the service, when it is started as one.
#[test]
#[ignore = "the service that other tests start"]
fn stand_in_service() {
    let Ok(behaviour) = std::env::var(BEHAVIOUR) else { return };
    let (behaviour, argument) = behaviour.split_once(' ').unwrap_or((&behaviour, ""));
    match behaviour {
        "refuses" => {
            eprintln!("OUTBOX_BYTES is \"lots\"; allowed: a size");
            std::process::exit(64);
        }
        "crashes-once" if !Path::new(argument).exists() => {
            fs::write(argument, "").unwrap();
            eprintln!("out of luck");
            std::process::exit(3);
        }
        "logs" => println!(r#"{{"level":"WARN","fields":{{"message":"redis is slow","took_ms":12}}}}"#),
        _ => {}
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(serve(behaviour));
    std::process::exit(0);
}

async fn serve(behaviour: &str) {
    let port: u16 = std::env::var("PORT").unwrap().parse().unwrap();
    let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
    let mut terminate = signal(SignalKind::terminate()).unwrap();
    println!("uses {}", std::env::var("REDIS_URL").unwrap());
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (mut socket, _) = accepted.unwrap();
                let _ = socket.read(&mut [0; 1024]).await;
                let _ = socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
            }
            _ = terminate.recv() => match behaviour {
                "stays" => println!("not yet"),
                "asks-redis" => {
                    // Long enough for a server that was told to stop at the same time to be gone.
                    tokio::time::sleep(Duration::from_millis(500)).await;
                    println!("redis says {}", ping());
                    return;
                }
                _ => return,
            },
        }
    }
}

fn ping() -> String {
    let url = std::env::var("REDIS_URL").unwrap();
    let Ok(mut socket) = TcpStream::connect(url.strip_prefix("redis://").unwrap()) else {
        return "nothing".to_owned();
    };
    socket.write_all(b"PING\r\n").unwrap();
    let mut answer = [0; 7];
    socket.read_exact(&mut answer).unwrap();
    String::from_utf8_lossy(&answer).trim().to_owned()
}
