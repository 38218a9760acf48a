use std::{
    fs,
    os::unix::{fs::chown, process::CommandExt as _},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, getuid, kill_process};
use tempfile::TempDir;

use crate::free_port;

const USER: &str = "postgres";
const PATIENCE: Duration = Duration::from_secs(30);

/// A private PostgreSQL on a free loopback port with a data directory of its own; killed on drop.
#[derive(Debug)]
pub struct PostgresServer {
    child: Option<Child>,
    port: u16,
    directory: TempDir,
    /// It refuses to run as root: then as its own user.
    owner: Option<(u32, u32)>,
}

impl PostgresServer {
    /// Makes a database cluster and starts a server on it.
    ///
    /// # Panics
    ///
    /// If Debian's `postgresql` is not installed (`make postgres`), or the server does not start in time.
    pub fn new() -> Self {
        let directory = TempDir::new().expect("a temporary directory");
        let owner = getuid().is_root().then(ids_of_postgres);
        if let Some((user, group)) = owner {
            chown(directory.path(), Some(user), Some(group)).expect("root may give a directory away");
        }
        let mut server = Self { child: None, port: free_port(), directory, owner };
        let made = server
            .command("initdb")
            .args(["--no-sync", "--auth=trust", "--encoding=UTF8", "--username", USER, "--pgdata"])
            .arg(server.data())
            .stdout(Stdio::null())
            .status();
        assert!(made.expect("initdb can be run").success(), "initdb failed");
        server.start();
        server
    }

    /// The database that is there from the start, as a URL.
    pub fn url(&self) -> String {
        format!("postgres://{USER}@127.0.0.1:{}/postgres", self.port)
    }

    /// Starts it on the same port and data as before, and waits until it answers.
    ///
    /// # Panics
    ///
    /// If it does not answer in time.
    pub fn start(&mut self) {
        let sockets = format!("unix_socket_directories={}", self.directory.path().display());
        let port = self.port.to_string();
        let settings = ["listen_addresses=127.0.0.1", &sockets, "shared_buffers=8MB", "max_connections=60"];
        let mut command = self.command("postgres");
        command.arg("-D").arg(self.data()).args(["-p", &port]);
        for setting in settings {
            command.args(["-c", setting]);
        }
        command.stdout(Stdio::null()).stderr(Stdio::null());
        self.child = Some(command.spawn().expect("postgres can be run"));
        let deadline = Instant::now() + PATIENCE;
        while !self.answers(&port) {
            assert!(Instant::now() < deadline, "postgres on port {port} does not answer");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Ends it as a crash would: SIGQUIT has it and all its processes leave without a word.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Killed itself, it would leave processes behind that go on for a while.
            if let Ok(pid) = i32::try_from(child.id()) {
                let _ = kill_process(Pid::from_raw(pid).expect("a process has an id"), Signal::QUIT);
            }
            let _ = child.wait();
        }
    }

    fn answers(&self, port: &str) -> bool {
        let asked = self.command("pg_isready").args(["-q", "-h", "127.0.0.1", "-p", port]).status();
        asked.is_ok_and(|status| status.success())
    }

    fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(programs().join(program));
        command.current_dir(self.directory.path()).stdin(Stdio::null());
        if let Some((user, group)) = self.owner {
            command.uid(user).gid(group);
        }
        command
    }
}

impl Default for PostgresServer {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Where Debian puts them: `/usr/lib/postgresql/15/bin`.
fn programs() -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut folders: Vec<_> = versions.map(|version| version.path().join("bin")).collect();
    folders.sort();
    folders.pop().expect("PostgreSQL is installed: make postgres")
}

/// Its user's and group's numbers, which Debian's package makes.
fn ids_of_postgres() -> (u32, u32) {
    let users = fs::read_to_string("/etc/passwd").expect("there are users");
    let entry = users.lines().find(|line| line.split(':').next() == Some(USER));
    let mut fields = entry.expect("the package made a user").split(':').skip(2);
    let mut number = || fields.next().and_then(|field| field.parse().ok()).expect("a user has numbers");
    (number(), number())
}
