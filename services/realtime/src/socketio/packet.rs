//! Socket.IO 5: its packets.

use std::fmt::Write as _;

use bytes::Bytes;
use serde_json::Value;

use crate::websocket::frame::{self, OpCode};

/// The most binary attachments that are waited for.
pub const MAX_ATTACHMENTS: u32 = 16;
/// The namespace that needs no name.
pub const MAIN_NAMESPACE: &str = "/";
/// Marks an object that stands for an attachment, whose number is in [`PLACE`].
const PLACEHOLDER: &str = "_placeholder";
const PLACE: &str = "num";

/// What a packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Enters a namespace.
    Connect,
    /// Leaves it.
    Disconnect,
    /// An event with arguments.
    Event,
    /// The answer to an event that asked for one.
    Ack,
    /// A namespace can't be entered.
    ConnectError,
    /// An event whose binary arguments follow.
    BinaryEvent,
    /// An answer whose binary arguments follow.
    BinaryAck,
}

/// A packet, in the text of one Engine.IO message.
#[derive(Clone, Debug, PartialEq)]
pub struct Packet<'a> {
    /// What it is.
    pub kind: Kind,
    /// The namespace it is about; `/` if it names none.
    pub namespace: &'a str,
    /// How many binary messages follow and belong to it.
    pub attachments: u32,
    /// The number by which its answer is known, if it wants or is one.
    pub ack: Option<u64>,
    /// Its payload; [`Value::Null`] if it has none.
    pub data: Value,
}

/// Why a packet can't be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPacket {
    /// An unknown type, or none.
    #[error("a packet of no known type")]
    UnknownKind,
    /// More attachments than are waited for, or no number of them.
    #[error("a packet with no number of attachments, or more than {MAX_ATTACHMENTS}")]
    Attachments,
    /// A number beyond all numbers.
    #[error("a packet's acknowledgement number is too large")]
    AckNumber,
    /// Not JSON.
    #[error("a packet's payload is not JSON: {0}")]
    Json(String),
    /// JSON that this kind of packet can't carry.
    #[error("a packet's payload does not fit its type")]
    Payload,
}

impl<'a> Packet<'a> {
    /// Reads a packet: type, attachments and `-`, namespace and `,`, acknowledgement number, payload.
    pub fn parse(text: &'a str) -> Result<Self, InvalidPacket> {
        let mut characters = text.chars();
        let kind = characters.next().and_then(kind_of).ok_or(InvalidPacket::UnknownKind)?;
        let mut rest = characters.as_str();
        let mut attachments = 0;
        if matches!(kind, Kind::BinaryEvent | Kind::BinaryAck) {
            let (number, after) = rest.split_once('-').ok_or(InvalidPacket::Attachments)?;
            attachments = digits(number).ok_or(InvalidPacket::Attachments)?;
            if attachments > MAX_ATTACHMENTS {
                return Err(InvalidPacket::Attachments);
            }
            rest = after;
        }
        let mut namespace = MAIN_NAMESPACE;
        if rest.starts_with('/') {
            (namespace, rest) = rest.split_once(',').unwrap_or((rest, ""));
            namespace = namespace.split('?').next().unwrap_or(namespace);
        }
        let number = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, payload) = rest.split_at(number);
        let ack =
            if number.is_empty() { None } else { Some(digits(number).ok_or(InvalidPacket::AckNumber)?) };
        let data = match payload {
            "" => Value::Null,
            json => serde_json::from_str(json).map_err(|error| InvalidPacket::Json(error.to_string()))?,
        };
        let packet = Self { kind, namespace, attachments, ack, data };
        if packet.fits() { Ok(packet) } else { Err(InvalidPacket::Payload) }
    }

    /// The name and arguments of an event.
    pub fn event(&self) -> Option<(&str, &[Value])> {
        let (name, arguments) = self.data.as_array()?.split_first()?;
        Some((name.as_str()?, arguments))
    }

    /// Whether every placeholder in it stands for one of its attachments.
    pub fn has_its_attachments(&self) -> bool {
        fn within(value: &Value, count: u32) -> bool {
            if is_placeholder(value) {
                return placed(value).is_some_and(|place| place < count as usize);
            }
            match value {
                Value::Array(values) => values.iter().all(|value| within(value, count)),
                Value::Object(fields) => fields.values().all(|value| within(value, count)),
                _ => true,
            }
        }
        within(&self.data, self.attachments)
    }

    fn fits(&self) -> bool {
        match self.kind {
            Kind::Connect => self.data.is_null() || self.data.is_object(),
            Kind::Disconnect => self.data.is_null(),
            Kind::ConnectError => self.data.is_object() || self.data.is_string(),
            Kind::Event | Kind::BinaryEvent => self.event().is_some(),
            Kind::Ack | Kind::BinaryAck => self.ack.is_some() && self.data.is_array(),
        }
    }
}

fn kind_of(character: char) -> Option<Kind> {
    Some(match character {
        '0' => Kind::Connect,
        '1' => Kind::Disconnect,
        '2' => Kind::Event,
        '3' => Kind::Ack,
        '4' => Kind::ConnectError,
        '5' => Kind::BinaryEvent,
        '6' => Kind::BinaryAck,
        _ => return None,
    })
}

fn digits<T: std::str::FromStr>(text: &str) -> Option<T> {
    let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| text.parse().ok()).flatten()
}

/// The arguments of an event or an answer. Where one is or has bytes, a placeholder stands for them.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Arguments<'a> {
    /// The arguments.
    pub values: &'a [Value],
    /// The bytes for which the placeholders in them stand.
    pub attachments: &'a [Bytes],
}

impl<'a> Arguments<'a> {
    /// The bytes for which a part of them stands, if it does.
    pub fn bytes(&self, value: &Value) -> Option<&'a Bytes> {
        self.attachments.get(is_placeholder(value).then(|| placed(value))??)
    }
}

fn is_placeholder(value: &Value) -> bool {
    value.get(PLACEHOLDER) == Some(&Value::Bool(true))
}

fn placed(placeholder: &Value) -> Option<usize> {
    usize::try_from(placeholder.get(PLACE)?.as_u64()?).ok()
}

/// What stands before the arguments of an event to the main namespace, Engine.IO's type included.
pub const EVENT_PREFIX: &str = "42";

/// The message that admits to a namespace.
pub fn connected(namespace: &str, sid: &str, pid: Option<&str>) -> String {
    let mut known_as = serde_json::json!({ "sid": sid });
    if let Some(pid) = pid {
        known_as["pid"] = pid.into();
    }
    about(namespace, "40", &known_as)
}

fn about(namespace: &str, kind: &str, rest: &dyn std::fmt::Display) -> String {
    match namespace {
        MAIN_NAMESPACE => format!("{kind}{rest}"),
        namespace => format!("{kind}{namespace},{rest}"),
    }
}

/// The message that refuses a namespace; `code` is for programs.
pub fn refused(namespace: &str, message: &str, code: Option<&str>) -> String {
    let mut error = serde_json::json!({ "message": message });
    if let Some(code) = code {
        error["data"] = serde_json::json!({ "code": code, "message": message });
    }
    about(namespace, "44", &error)
}

/// An event with one argument.
pub fn event(name: &str, argument: &Value) -> String {
    format!("{EVENT_PREFIX}[{},{argument}]", Value::from(name))
}

/// The answer to an event that asked for one.
pub fn ack(number: u64, argument: &Value) -> String {
    format!("43{number}[{argument}]")
}

/// What has arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject<'a> {
    /// An event, by its name.
    Event(&'a str),
    /// The answer to an event that asked for one, by its number.
    Ack(u64),
}

/// A packet with any arguments as WebSocket frames: its text, and one for each attachment.
pub fn frames(namespace: &str, subject: Subject<'_>, arguments: Arguments<'_>) -> Vec<u8> {
    let (kind, binary_kind) = match subject {
        Subject::Event(_) => ("42", "45"),
        Subject::Ack(_) => ("43", "46"),
    };
    let mut rest = String::new();
    // Writing to a string can't fail.
    let _ = match subject {
        Subject::Event(name) => write!(rest, "[{}", Value::from(name)),
        Subject::Ack(number) => write!(rest, "{number}["),
    };
    for (place, value) in arguments.values.iter().enumerate() {
        let comma = place > 0 || matches!(subject, Subject::Event(_));
        let _ = write!(rest, "{}{value}", if comma { "," } else { "" });
    }
    rest.push(']');
    let mut frames = match arguments.attachments.len() {
        0 => frame::text(&about(namespace, kind, &rest)),
        count => frame::text(&about(namespace, &format!("{binary_kind}{count}-"), &rest)),
    };
    for attachment in arguments.attachments {
        frame::push_frame(&mut frames, OpCode::Binary, attachment);
    }
    frames
}

/// The message that ends a namespace and tells the stock client to stay away.
pub fn disconnect(namespace: &str) -> String {
    about(namespace, "41", &"")
}

#[cfg(test)]
mod tests;
