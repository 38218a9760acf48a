//! Server-sent events: the body of an answer that does not end.
//!
//! As the HTML standard has them, section 9.2: blocks of `field: value` lines, each ended by a blank line. Like frames of
//! WebSocket to clients they are the same for every receiver, and the end of the connection is the end of the body, so
//! that nothing of a receiver's own lies between them.

use std::time::Duration;

/// A block that means nothing but that the server is there.
pub const COMMENT: &[u8] = b":\n\n";

/// Writes an event. `data` is one line; `id` is where the client is that has got it.
///
/// # Panics
///
/// In debug builds, if a part has a line break: what follows it would be read as something else.
pub fn push_event(out: &mut Vec<u8>, name: &str, id: Option<&str>, data: &[u8]) {
    debug_assert!(!name.contains(['\n', '\r']) && !id.is_some_and(|id| id.contains(['\n', '\r', '\0'])));
    debug_assert!(!data.contains(&b'\n') && !data.contains(&b'\r'), "JSON has no line breaks");
    out.reserve(name.len() + id.map_or(0, str::len) + data.len() + 24);
    out.extend_from_slice(b"event: ");
    out.extend_from_slice(name.as_bytes());
    if let Some(id) = id {
        out.extend_from_slice(b"\nid: ");
        out.extend_from_slice(id.as_bytes());
    }
    out.extend_from_slice(b"\ndata: ");
    out.extend_from_slice(data);
    out.extend_from_slice(b"\n\n");
}

/// Writes how long a client is to wait before it comes back; a line that belongs to the block that follows.
pub fn push_retry(out: &mut Vec<u8>, after: Duration) {
    out.extend_from_slice(format!("retry: {}\n", after.as_millis()).as_bytes());
}

/// How long the block at the beginning of `bytes` is, or the head of an answer; `bytes.len()` if it ends later.
pub fn length_of(bytes: &[u8]) -> usize {
    let mut lines = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(place, _)| place);
    let end = lines.find_map(|place| match bytes[place + 1..] {
        [b'\n', ..] => Some(place + 2),
        [b'\r', b'\n', ..] => Some(place + 3),
        _ => None,
    });
    end.unwrap_or(bytes.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_a_block_with_its_name_its_id_and_one_line_of_data() {
        let mut out = Vec::new();
        push_retry(&mut out, Duration::from_secs(2));
        push_event(&mut out, "model-event", Some("Aeq"), b"{}");
        push_event(&mut out, "closing", None, b"{\"code\":3000}");
        let expected =
            "retry: 2000\nevent: model-event\nid: Aeq\ndata: {}\n\nevent: closing\ndata: {\"code\":3000}\n\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn a_block_ends_with_a_blank_line() {
        for (bytes, length) in [
            ("event: a\ndata: b\n\nevent: c\n\n", 18),
            ("HTTP/1.1 200 OK\r\na: b\r\n\r\nevent: c\n\n", 25),
            (":\n\n:\n\n", 3),
            ("event: a\ndata: b\n", 17),
            ("", 0),
        ] {
            assert_eq!(length_of(bytes.as_bytes()), length, "{bytes:?}");
        }
    }
}
