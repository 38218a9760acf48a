use std::{
    fs::{self, File},
    io::{Read as _, Write as _},
    net::TcpStream,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use tempfile::TempDir;

use crate::free_port;

const PATIENCE: Duration = Duration::from_mins(1);
/// As Debian calls the program of `victoria-metrics`.
const VICTORIA_METRICS: &str = "victoria-metrics";

/// What a [`PointServer`] runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Program {
    Influx,
    VictoriaMetrics,
}

/// A private server that takes points in InfluxDB's line protocol, on a free loopback port with a data directory of its own;
/// killed on drop.
#[derive(Debug)]
pub struct PointServer {
    program: Program,
    child: Option<Child>,
    port: u16,
    directory: TempDir,
    settings: Vec<(&'static str, &'static str)>,
}

impl PointServer {
    /// InfluxDB 1, with settings that environment variables name (`INFLUXDB_DATA_MAX_VALUES_PER_TAG`).
    ///
    /// # Panics
    ///
    /// If Debian's `influxdb` is not installed (`make influxdb`), or it does not answer in time.
    pub fn influxdb(settings: &[(&'static str, &'static str)]) -> Self {
        Self::start_new(Program::Influx, settings)
    }

    /// VictoriaMetrics.
    ///
    /// # Panics
    ///
    /// If Debian's `victoria-metrics` is not installed (`make victoria-metrics`), or it does not answer in time.
    pub fn victoria_metrics() -> Self {
        Self::start_new(Program::VictoriaMetrics, &[])
    }

    fn start_new(program: Program, settings: &[(&'static str, &'static str)]) -> Self {
        let directory = TempDir::new().expect("a temporary directory");
        let mut server =
            Self { program, child: None, port: free_port(), directory, settings: settings.to_vec() };
        server.start();
        server
    }

    /// Its address.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Starts it on the same port and data as before, and waits until it answers.
    ///
    /// # Panics
    ///
    /// If it does not answer in time.
    pub fn start(&mut self) {
        let log = File::create(self.directory.path().join("log")).expect("a log");
        let mut command = match self.program {
            Program::Influx => self.influxd(),
            Program::VictoriaMetrics => self.victoria(),
        };
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.child = Some(command.spawn().expect("the server can be run: make influxdb victoria-metrics"));
        let deadline = Instant::now() + PATIENCE;
        while !self.get("/ping").starts_with("HTTP/1.1 204") {
            assert!(Instant::now() < deadline, "{:?} on port {} does not answer", self.program, self.port);
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Ends it as a crash would.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// The whole answer to a GET; empty if there is none.
    pub fn get(&self, target: &str) -> String {
        let mut answer = String::new();
        if let Ok(mut stream) = TcpStream::connect(("127.0.0.1", self.port)) {
            let _ = stream.set_read_timeout(Some(PATIENCE));
            let request = format!("GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
            let _ = stream.write_all(request.as_bytes());
            let _ = stream.read_to_string(&mut answer);
        }
        answer
    }

    fn influxd(&self) -> Command {
        let directory = self.directory.path();
        let at = |name: &str| directory.join(name).display().to_string();
        let config = format!(
            "reporting-enabled = false\nbind-address = \"127.0.0.1:0\"\n\
             [meta]\ndir = {:?}\n[data]\ndir = {:?}\nwal-dir = {:?}\nquery-log-enabled = false\n\
             [monitor]\nstore-enabled = false\n[http]\nbind-address = \"127.0.0.1:{}\"\nlog-enabled = false\n",
            at("meta"),
            at("data"),
            at("wal"),
            self.port
        );
        let path = directory.join("influxdb.conf");
        fs::write(&path, config).expect("a temporary file can be written");
        let mut command = Command::new("influxd");
        command.arg("-config").arg(path).envs(self.settings.iter().copied());
        command
    }

    fn victoria(&self) -> Command {
        let mut command = Command::new(VICTORIA_METRICS);
        command.arg(format!("-httpListenAddr=127.0.0.1:{}", self.port));
        command.arg(format!("-storageDataPath={}", self.directory.path().join("data").display()));
        // Points are kept whatever their time, and one that comes again is the same one.
        command.args([
            "-retentionPeriod=100y",
            "-dedup.minScrapeInterval=1ms",
            "-memory.allowedBytes=268435456",
        ]);
        command
    }
}

impl Drop for PointServer {
    fn drop(&mut self) {
        self.kill();
    }
}
