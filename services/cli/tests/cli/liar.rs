//! A wire to a real Redis on which single answers are changed: for faults that no setting of a server brings about.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::Arc,
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// What is changed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lies {
    /// Texts in the server's answers and what stands there instead, of the same length.
    pub(crate) replaced: Vec<(&'static str, &'static str)>,
    /// By how much its clock (`TIME`) is ahead.
    pub(crate) clock_ahead: Option<Duration>,
}

/// Starts the wire to the server on a port; gives the URL of its other end.
pub(crate) fn wire_to(port: u16, lies: Lies) -> String {
    assert!(lies.replaced.iter().all(|(text, instead)| text.len() == instead.len()));
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let url = format!("redis://{}", listener.local_addr().unwrap());
    let lies = Arc::new(lies);
    thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let server = TcpStream::connect(("127.0.0.1", port)).unwrap();
            let (asks, lies) = ((client.try_clone().unwrap(), server.try_clone().unwrap()), lies.clone());
            let asked_lies = lies.clone();
            thread::spawn(move || carry_requests(asks.0, asks.1, &asked_lies));
            thread::spawn(move || carry_answers(server, client, &lies));
        }
    });
    url
}

fn carry_requests(mut client: TcpStream, mut server: TcpStream, lies: &Lies) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(length @ 1..) = client.read(&mut buffer) {
        let request = &buffer[..length];
        match lies.clock_ahead {
            Some(ahead) if request == b"*1\r\n$4\r\nTIME\r\n" => {
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap() + ahead;
                let (seconds, micros) = (now.as_secs().to_string(), now.subsec_micros().to_string());
                let answer =
                    format!("*2\r\n${}\r\n{seconds}\r\n${}\r\n{micros}\r\n", seconds.len(), micros.len());
                client.write_all(answer.as_bytes()).unwrap();
            }
            _ => server.write_all(request).unwrap(),
        }
    }
    let _ = server.shutdown(Shutdown::Both);
}

fn carry_answers(mut server: TcpStream, mut client: TcpStream, lies: &Lies) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(length @ 1..) = server.read(&mut buffer) {
        let mut answer = buffer[..length].to_vec();
        for (text, instead) in &lies.replaced {
            while let Some(at) = answer.windows(text.len()).position(|window| window == text.as_bytes()) {
                answer[at..at + text.len()].copy_from_slice(instead.as_bytes());
            }
        }
        if client.write_all(&answer).is_err() {
            break;
        }
    }
    let _ = client.shutdown(Shutdown::Both);
}
