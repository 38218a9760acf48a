//! Any messages are a session or end it; what was read of an event is the same after it was written, and the
//! application is told of clients in a fitting order.
//!
//! The input is messages, separated by zero bytes; those that begin with `b` are binary.

#![no_main]

use std::{
    pin::pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use synapse_realtime::{
    driver::{Next, Session, Work},
    link::Link,
    outbox::Outbox,
    socketio::{
        application::{Answer, Application, Failure},
        engine::Heartbeat,
        packet::{Arguments, Kind, MAX_ATTACHMENTS, Packet, Subject, frames},
        payload,
        session::{Rules, SocketIo},
    },
    websocket::{decoder::Message, frame},
};
use tokio::time::Instant;

const MAX_PAYLOAD: usize = 1 << 12;
const RULES: Rules = Rules {
    heartbeat: Heartbeat { interval: Duration::from_secs(25), timeout: Duration::from_secs(20) },
    max_payload: MAX_PAYLOAD,
    connect_timeout: Duration::from_secs(45),
};

/// Lets in who says nothing, and looks at what it is told.
struct Witness {
    is_inside: bool,
}

impl Application for Witness {
    type Admission = ();
    type Outcome = Vec<u8>;

    fn beside(&self, namespace: &str) -> Option<Self> {
        (namespace == "/custom").then_some(Self { is_inside: false })
    }

    fn connect(&mut self, auth: Value) -> Work<Result<(), Failure>> {
        assert!(!self.is_inside && (auth.is_null() || auth.is_object()));
        let may_enter = auth.is_null();
        Box::pin(async move { if may_enter { Ok(()) } else { Err(Failure::new("refused", "no")) } })
    }

    fn connected(&mut self, _sid: &str, (): ()) -> Option<Work<()>> {
        assert!(!self.is_inside);
        self.is_inside = true;
        None
    }

    fn event(&mut self, name: &str, arguments: Arguments<'_>) -> Answer<Vec<u8>> {
        assert!(self.is_inside);
        let Arguments { values, attachments } = arguments;
        assert!(attachments.len() <= MAX_ATTACHMENTS as usize);
        assert!(attachments.iter().map(Bytes::len).sum::<usize>() <= MAX_PAYLOAD);
        for value in values {
            assert_eq!(arguments.bytes(value).is_some(), !attachments.is_empty() && stands_for_bytes(value));
        }
        stays_the_same("/", Subject::Event(name), arguments);
        stays_the_same("/custom", Subject::Ack(values.len() as u64), arguments);
        match name {
            "later" => {
                let written = frames("/", Subject::Event(name), arguments);
                Answer::Later(Box::pin(async { written }))
            }
            "refused" => Answer::Now(Err(Failure::new("refused", name))),
            _ => Answer::With(values.to_vec(), attachments.to_vec()),
        }
    }

    fn finished(&mut self, _written: Vec<u8>) -> Result<(), Failure> {
        assert!(self.is_inside);
        Ok(())
    }

    fn disconnected(&mut self) {
        self.is_inside = false;
    }

    fn expires_at(&self) -> Option<Instant> {
        None
    }

    fn ponged(&mut self, _after: Duration) {}
}

fn stands_for_bytes(value: &Value) -> bool {
    value.get("_placeholder") == Some(&Value::Bool(true))
}

/// A packet is read back as it was written.
fn stays_the_same(namespace: &str, subject: Subject<'_>, arguments: Arguments<'_>) {
    let mut written = &frames(namespace, subject, arguments)[..];
    let mut outbox = Outbox::default();
    outbox.push(written.to_vec().into());
    let mut contents = Vec::new();
    while !written.is_empty() {
        let (first, rest) = written.split_at(frame::length_of(written));
        contents.push(frame::opened(first).expect("a whole frame").1);
        written = rest;
    }
    let text = std::str::from_utf8(contents[0]).expect("the first frame is text");
    let packet = Packet::parse(text.strip_prefix('4').expect("a message")).expect("it can be read");
    assert_eq!((packet.namespace, packet.attachments as usize), (namespace, arguments.attachments.len()));
    assert!(arguments.attachments.iter().eq(&contents[1..]));
    match subject {
        Subject::Event(name) => assert_eq!(packet.event(), Some((name, arguments.values))),
        Subject::Ack(number) => {
            assert!(matches!(packet.kind, Kind::Ack | Kind::BinaryAck));
            assert_eq!(
                (packet.ack, packet.data.as_array().map(Vec::as_slice)),
                (Some(number), Some(arguments.values))
            );
        }
    }
    // By polling it arrives as the same messages.
    let mut messages = payload::decode(payload::encode(&outbox).into()).expect("a payload");
    assert!(matches!(messages.next(), Some(Message::Text(first)) if first == text));
    assert_eq!(messages.count() + 1, contents.len());
}

fuzz_target!(|input: &[u8]| {
    let link = Link::polled(1 << 20);
    let mut session = SocketIo::new(link.clone(), "session".into(), Witness { is_inside: false }, RULES);
    assert!(matches!(session.opened(), Ok(Next::Read)));
    for message in input.split(|byte| *byte == 0) {
        let came = match message {
            [b'b', bytes @ ..] => session.binary(bytes),
            text => match std::str::from_utf8(text) {
                Ok(text) => session.text(text),
                Err(_) => continue,
            },
        };
        let mut next = match came {
            Ok(next) => next,
            Err(reason) => {
                session.farewell(reason);
                return;
            }
        };
        while let Next::Await(work) = next {
            let Poll::Ready(outcome) = pin!(work).poll(&mut Context::from_waker(Waker::noop())) else {
                panic!("no work takes a while")
            };
            next = session.finished(outcome).unwrap_or(Next::Leave);
        }
        if matches!(next, Next::Leave) {
            return;
        }
        assert!(session.deadline() > Instant::now());
    }
});
