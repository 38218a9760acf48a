//! A terminal that `synapse` runs in, and what it writes there.

use std::{
    fs::{File, OpenOptions},
    io::{Read as _, Write as _},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use rustix::{
    process::{Pid, Signal, kill_process},
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{Winsize, tcsetwinsize},
};

use crate::running::PATIENCE;

/// A command in a terminal of its own; killed when dropped.
pub(crate) struct Screen {
    child: Child,
    keyboard: File,
    text: Arc<Mutex<Vec<u8>>>,
    reader: Option<JoinHandle<()>>,
}

impl Screen {
    /// Starts it in a terminal of so many columns.
    pub(crate) fn start(command: &mut Command, columns: u16) -> Self {
        let own = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&own).unwrap();
        unlockpt(&own).unwrap();
        tcsetwinsize(&own, size(columns)).unwrap();
        let name = ptsname(&own, Vec::new()).unwrap().into_string().unwrap();
        let end = || Stdio::from(OpenOptions::new().read(true).write(true).open(&name).unwrap());
        let child = command.env("TERM", "xterm-256color").stdin(end()).stdout(end()).stderr(end()).spawn();
        // The command holds ends of the terminal itself: with them open reading would never be over.
        *command = Command::new("true");
        let own = File::from(own);
        let keyboard = own.try_clone().unwrap();
        let text = Arc::new(Mutex::new(Vec::new()));
        let seen = text.clone();
        let reader = thread::spawn(move || gather(own, &seen));
        Self { child: child.unwrap(), keyboard, text, reader: Some(reader) }
    }

    /// Everything written so far, with the sequences that steer a terminal.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.text.lock().unwrap()).into_owned()
    }

    /// Waits until this was written.
    pub(crate) fn until(&self, text: &str) {
        let deadline = Instant::now() + PATIENCE;
        while !self.text().contains(text) {
            assert!(Instant::now() < deadline, "waited for {text:?} in:\n{}", self.text());
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Gives the terminal another width.
    pub(crate) fn resize(&self, columns: u16) {
        tcsetwinsize(&self.keyboard, size(columns)).unwrap();
    }

    /// Types something.
    pub(crate) fn type_in(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits until it has ended; gives everything it has written, and how it ended.
    pub(crate) fn end(mut self) -> (String, ExitStatus) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                self.reader.take().unwrap().join().unwrap();
                return (self.text(), status);
            }
            assert!(Instant::now() < deadline, "it does not end:\n{}", self.text());
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn size(columns: u16) -> Winsize {
    Winsize { ws_row: 50, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }
}

/// Until nobody holds the other end any more, which is an error here.
fn gather(mut own: File, seen: &Mutex<Vec<u8>>) {
    let mut buffer = [0; 4096];
    while let Ok(length @ 1..) = own.read(&mut buffer) {
        seen.lock().unwrap().extend_from_slice(&buffer[..length]);
    }
}
