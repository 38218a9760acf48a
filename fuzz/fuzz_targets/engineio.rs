//! Any message is an Engine.IO packet or is none, and any request to the address of Socket.IO is understood or refused.
//!
//! The input is a message, or the method and the query of a request, separated by zero bytes.

#![no_main]

use std::{sync::LazyLock, time::Duration};

use http::Method;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use synapse_realtime::{
    connections::{Connections, Limits},
    socketio::{
        engine::Packet,
        requests::{Asked, Query},
    },
};

static CONNECTIONS: LazyLock<Connections> = LazyLock::new(|| {
    Connections::new(Limits {
        outbox_bytes: 1 << 20,
        max_message_bytes: 1 << 16,
        max_messages_per_second: 0,
        max_connections_per_address: 0,
        max_polled: 1,
        connect_timeout: Duration::from_secs(1),
    })
});

fuzz_target!(|input: &str| {
    if let Some(packet) = Packet::parse(input) {
        let again = match packet {
            Packet::Close => "1".to_owned(),
            Packet::Ping(payload) => format!("2{payload}"),
            Packet::Pong => "3".to_owned(),
            Packet::Message(text) => format!("4{text}"),
            Packet::Upgrade => "5".to_owned(),
            Packet::Noop => "6".to_owned(),
        };
        assert!(input.starts_with(&again), "{packet:?}");
    }
    let mut parts = input.split('\0');
    let method = parts.next().and_then(|method| Method::from_bytes(method.as_bytes()).ok());
    let query = Query { version: parts.next(), transport: parts.next(), session: parts.next() };
    let Some(method) = method else { return };
    match Asked::of(&CONNECTIONS, &method, query) {
        Ok(Asked::WebSocket | Asked::Polling) => {
            assert_eq!((method, query.version, query.session), (Method::GET, Some("4"), None));
        }
        Ok(asked) => panic!("a session that is not there: {asked:?}"),
        Err(error) => {
            assert!(error.status().is_client_error());
            let body: Value = serde_json::from_str(&error.body()).expect("JSON");
            assert_eq!(body["code"], error.code());
        }
    }
});
