use std::time::Duration;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::*;

/// As an append looks from outside, and what the server has after it.
fn append(number: u8) -> Vec<u8> {
    format!("*5\r\n$4\r\nXADD\r\n$1\r\ns\r\n$1\r\n*\r\n$1\r\nn\r\n$1\r\n{number}\r\n").into_bytes()
}

async fn client(proxy: &Proxy) -> TcpStream {
    let mut client = TcpStream::connect(("127.0.0.1", proxy.port)).await.unwrap();
    client.write_all(b"*1\r\n$4\r\nPING\r\n").await.unwrap();
    let mut pong = [0; 7];
    client.read_exact(&mut pong).await.unwrap();
    assert_eq!(&pong, b"+PONG\r\n");
    client
}

fn length(server: &RedisServer) -> u64 {
    redis::cmd("XLEN").arg("s").query(&mut server.connection()).unwrap()
}

async fn read_all(client: &mut TcpStream) -> (Vec<u8>, io::Result<()>) {
    let mut read = Vec::new();
    let outcome = timeout(PATIENCE, client.read_to_end(&mut read)).await.unwrap();
    (read, outcome.map(drop))
}

#[tokio::test]
async fn a_request_is_cut_at_exactly_its_byte() {
    let server = RedisServer::new();
    let proxy = Proxy::to(&server).await;
    let request = [append(1), append(2)].concat();
    let half = append(1).len() as u64;
    for (round, (at, arrived)) in
        [(0, 0), (half - 1, 0), (half, 1), (2 * half - 1, 1), (2 * half, 2)].into_iter().enumerate()
    {
        let cut = if round % 2 == 0 { Cut::Reset } else { Cut::Fin };
        proxy.plan(Plan::new().requests(at, Fault::Cut(cut)));
        let before = (length(&server), proxy.passed());
        let mut client = client(&proxy).await;
        client.write_all(&request).await.unwrap();
        let (_, outcome) = read_all(&mut client).await;
        assert_eq!(outcome.is_err(), cut == Cut::Reset, "{outcome:?}");
        let after = proxy.until("it is over", |passed| passed.broken > before.1.broken).await;
        assert_eq!(after.request_bytes - before.1.request_bytes, at);
        assert_eq!((length(&server) - before.0, after.faults - before.1.faults), (arrived, 1), "cut at {at}");
    }
}

#[tokio::test]
async fn replies_are_cut_at_exactly_their_byte_and_the_request_arrives() {
    let server = RedisServer::new();
    let proxy = Proxy::to(&server).await;
    for at in [0, 1, 30] {
        let before = length(&server);
        proxy.plan(Plan::new().replies(at, Fault::Cut(Cut::Fin)));
        let mut client = client(&proxy).await;
        client.write_all(&[append(1), append(2)].concat()).await.unwrap();
        let (read, outcome) = read_all(&mut client).await;
        outcome.unwrap();
        assert_eq!((read.len() as u64, length(&server) - before), (at, 2));
    }
}

#[tokio::test]
async fn what_is_stranded_arrives_when_the_gate_opens() {
    let server = RedisServer::new();
    let proxy = Proxy::to(&server).await;
    let (request, gate) = ([append(1), append(2)].concat(), Gate::new());
    let until = request.len() as u64;
    proxy.plan(Plan::new().requests(until / 2, Fault::Strand { until, gate: gate.clone() }));
    let mut client = client(&proxy).await;
    client.write_all(&request).await.unwrap();
    let (_, outcome) = read_all(&mut client).await;
    outcome.unwrap_err();
    assert_eq!(length(&server), 1);
    gate.open();
    proxy.until("it is over", |passed| passed.broken == 1).await;
    assert_eq!(length(&server), 2);
}

#[tokio::test]
async fn what_is_held_goes_on_and_what_is_swallowed_does_not() {
    let server = RedisServer::new();
    let proxy = Proxy::to(&server).await;
    let gate = Gate::new();
    proxy.plan(Plan::new().requests(3, Fault::Hold(gate.clone())));
    proxy.plan(Plan::new().requests(3, Fault::SwallowBoth));
    let mut held = client(&proxy).await;
    held.write_all(&append(1)).await.unwrap();
    let mut swallowed = client(&proxy).await;
    swallowed.write_all(&append(2)).await.unwrap();
    proxy.until("both have stopped", |passed| passed.faults == 2).await;
    assert_eq!(length(&server), 0);
    gate.open();
    let mut reply = [0; 4];
    held.read_exact(&mut reply).await.unwrap();
    assert_eq!(length(&server), 1);
    let silence = timeout(Duration::from_millis(50), swallowed.read(&mut reply)).await;
    silence.unwrap_err();
}

#[tokio::test]
async fn it_refuses_is_cut_and_leads_elsewhere_when_told() {
    let (server, other) = (RedisServer::new(), RedisServer::new());
    let proxy = Proxy::to(&server).await;
    let mut first = client(&proxy).await;
    proxy.refuse().await;
    TcpStream::connect(("127.0.0.1", proxy.port)).await.unwrap_err();
    proxy.cut_all(Cut::Reset);
    read_all(&mut first).await.1.unwrap_err();
    proxy.lead_to(&other);
    proxy.accept().await;
    let mut second = client(&proxy).await;
    second.write_all(&append(1)).await.unwrap();
    second.read_u8().await.unwrap();
    assert_eq!((length(&server), length(&other)), (0, 1));
}
