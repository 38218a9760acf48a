use std::{
    env,
    ffi::OsString,
    io::Read as _,
    net::TcpStream,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::free_port;

/// The variable that names the server's program where it is not the `redis-server` of the `PATH`.
const SERVER_VARIABLE: &str = "SYNAPSE_TEST_REDIS_SERVER";

/// A private `redis-server` on a free loopback port with a data directory of its own; killed on drop.
#[derive(Debug)]
pub struct RedisServer {
    child: Option<Child>,
    port: u16,
    arguments: Vec<String>,
    directory: TempDir,
}

/// What a [`RedisServer`] is started with.
#[derive(Debug, Default)]
pub struct RedisServerBuilder {
    arguments: Vec<String>,
}

impl RedisServerBuilder {
    /// Adds a setting as `redis-server` takes it, for example `("appendonly", "yes")`; several values apart by blanks.
    #[must_use]
    pub fn set(mut self, name: &str, value: &str) -> Self {
        self.arguments.push(format!("--{name}"));
        self.arguments.extend(value.split(' ').map(str::to_owned));
        self
    }

    /// Starts the server and waits until it answers.
    ///
    /// # Panics
    ///
    /// If `redis-server`, or what `SYNAPSE_TEST_REDIS_SERVER` names, is not installed or does not start within ten
    /// seconds.
    pub fn start(self) -> RedisServer {
        let directory = TempDir::new().expect("a temporary directory");
        let mut server = RedisServer { child: None, port: free_port(), arguments: self.arguments, directory };
        server.start();
        server
    }
}

impl RedisServer {
    /// A server that keeps everything in memory only.
    pub fn new() -> Self {
        Self::builder().start()
    }

    /// A server that survives [`RedisServer::kill`]: every write is on disk before it is answered.
    pub fn durable() -> Self {
        Self::builder().set("appendonly", "yes").set("appendfsync", "always").start()
    }

    /// A server with settings of one's own.
    pub fn builder() -> RedisServerBuilder {
        RedisServerBuilder::default()
    }

    /// The port it listens on, the same over restarts.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its address as a URL.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Its process id while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Ends it with SIGKILL.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Starts it on the same port and data as before, and waits until it answers; nothing if it runs.
    ///
    /// # Panics
    ///
    /// If it does not answer within ten seconds.
    pub fn start(&mut self) {
        self.launch();
        let deadline = Instant::now() + Duration::from_secs(10);
        while !self.answers() {
            assert!(
                Instant::now() < deadline,
                "{} on port {} does not answer",
                program().display(),
                self.port
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Like [`RedisServer::start`], without waiting: it may be loading for a while.
    ///
    /// # Panics
    ///
    /// If the program is not there.
    pub fn launch(&mut self) {
        if self.child.is_some() {
            return;
        }
        let program = program();
        let child = Command::new(&program)
            .args(["--bind", "127.0.0.1", "--save", "", "--port"])
            .arg(self.port.to_string())
            .arg("--dir")
            .arg(self.directory.path())
            .args(&self.arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error} (apt-get install redis-server)", program.display()));
        self.child = Some(child);
    }

    /// Stops it where it stands, as a machine that hangs: its sockets stay open; or lets it go on.
    ///
    /// # Panics
    ///
    /// If it does not run.
    pub fn freeze(&self, freeze: bool) {
        let signal = if freeze { Signal::STOP } else { Signal::CONT };
        let child = self.child.as_ref().expect("the server runs");
        kill_process(Pid::from_child(child), signal).expect("a child can be sent signals");
    }

    /// Where it keeps its data.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// A connection for the test's own questions.
    ///
    /// # Panics
    ///
    /// If the server refuses it.
    pub fn connection(&self) -> redis::Connection {
        let client = redis::Client::open(self.url()).expect("a well-formed URL");
        client.get_connection().expect("the server accepts connections")
    }

    /// Whether it has loaded its data and answers, be it with "who are you".
    fn answers(&self) -> bool {
        use std::io::Write as _;
        let Ok(mut socket) = TcpStream::connect(("127.0.0.1", self.port)) else { return false };
        let _ = socket.set_read_timeout(Some(Duration::from_secs(1)));
        let mut answer = [0; 64];
        let asked = socket.write_all(b"PING\r\n").and_then(|()| socket.read(&mut answer));
        asked.is_ok_and(|length| {
            answer[..length].starts_with(b"+PONG") || answer[..length].starts_with(b"-NOAUTH")
        })
    }
}

impl Default for RedisServer {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
    }
}

fn program() -> OsString {
    env::var_os(SERVER_VARIABLE).filter(|name| !name.is_empty()).unwrap_or_else(|| "redis-server".into())
}
