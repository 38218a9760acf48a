use rustix::process::getpid;
use synapse_test_support::{RedisServer, free_port};
use tokio::net::TcpListener;

use super::*;

/// A server that gives one answer to one request.
async fn answering(answer: &'static str) -> Probe {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut request = [0; 1024];
        let length = socket.read(&mut request).await.unwrap();
        assert!(request[..length].starts_with(b"GET /ready HTTP/1.1\r\n"));
        socket.write_all(answer.as_bytes()).await.unwrap();
    });
    Probe::Http(address)
}

#[tokio::test]
async fn a_service_is_ready_when_it_says_so() {
    let probe = answering("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").await;
    assert_eq!(probe.ask(getpid()).await, Ok(()));
}

#[tokio::test]
async fn a_service_that_is_not_ready_is_quoted() {
    let answer =
        "HTTP/1.1 503 Service Unavailable\r\n\r\n{\"reasons\":[\"redis has not answered\",\"history\"]}";
    assert_eq!(
        answering(answer).await.ask(getpid()).await,
        Err("redis has not answered; history".to_owned())
    );
    let refused =
        answering("HTTP/1.1 503 Service Unavailable\r\n\r\n").await.ask(getpid()).await.unwrap_err();
    assert!(refused.contains("503"), "{refused}");
}

#[tokio::test]
async fn who_does_not_listen_or_does_not_speak_http_is_not_ready() {
    let nobody = Probe::Http(format!("127.0.0.1:{}", free_port())).ask(getpid()).await.unwrap_err();
    assert!(nobody.contains("refused"), "{nobody}");
    let stranger = answering("-ERR unknown command\r\n").await.ask(getpid()).await;
    assert!(stranger.is_err());
}

#[tokio::test]
async fn redis_is_ready_when_it_answers_and_is_the_one_that_was_started() {
    let server = RedisServer::new();
    let probe = Probe::Redis(RedisSettings::from_url(&server.url()).unwrap());
    let own = Pid::from_raw(server.pid().unwrap().try_into().unwrap()).unwrap();
    assert_eq!(probe.ask(own).await, Ok(()));
    let refused = probe.ask(getpid()).await.unwrap_err();
    assert!(refused.contains("another server"), "{refused}");
}
