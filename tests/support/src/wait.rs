use std::{
    future::Future,
    net::{TcpListener, TcpStream},
    time::Duration,
};

/// How long a condition may take to come true before the test fails.
const PATIENCE: Duration = Duration::from_secs(20);

/// Asks again and again until the answer is `Some`, and gives it back.
///
/// # Panics
///
/// If it has not become true within 20 seconds; the message names what was waited for.
pub async fn eventually<T, F, Fut>(what: &str, mut ask: F) -> T
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Option<T>>,
{
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(tokio::time::Instant::now() < deadline, "waited {PATIENCE:?} for: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A loopback port that nobody listens on, and that no other caller is given for a minute.
///
/// A connection of its own is left behind in `TIME_WAIT`: the kernel then hands the port to nobody
/// who asks for any port, while a server that names it can still bind it.
///
/// # Panics
///
/// If the system has no port to give.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free loopback port");
    let address = listener.local_addr().expect("a bound socket has an address");
    let client = TcpStream::connect(address).expect("a listening socket accepts");
    let (accepted, _) = listener.accept().expect("a connection is waiting");
    // The side that closes first is the one that waits.
    drop(accepted);
    let mut client = client;
    let _ = std::io::Read::read(&mut client, &mut [0]);
    drop(client);
    address.port()
}
