//! The protocol on the wire (RESP2), for who writes requests as bytes and counts replies.

use std::ops::Range;

use super::tape;

/// The longest value and the longest line of a reply: what is asked here is answered with ids.
const MAX_VALUE_BYTES: u32 = 64 * 1024;

/// One reply, as a piece of the buffer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    /// A value: an entry's id, or `OK`.
    Value(Range<usize>),
    /// An error: its code and text, without the `-`.
    Error(Range<usize>),
}

/// The server sent something that no reply of RESP2 starts with; the connection is out of step.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the server's reply is not RESP: it starts with {0:?}")]
pub(crate) struct NotResp(pub String);

/// Reads the next whole reply of `buffer` from `at` on; gives it and where the one behind it starts.
///
/// `Ok(None)` if it has not arrived completely.
pub(crate) fn next(buffer: &[u8], at: usize) -> Result<Option<(Reply, usize)>, NotResp> {
    let rest = &buffer[at..];
    let Some(line_end) = memchr::memchr(b'\n', rest) else {
        return if rest.len() > MAX_VALUE_BYTES as usize { Err(not_resp(rest)) } else { Ok(None) };
    };
    let behind = at + line_end + 1;
    let line = at + 1..behind.saturating_sub(2).max(at + 1);
    match rest[0] {
        b'$' => bulk(buffer, line, behind).ok_or_else(|| not_resp(rest)),
        b'-' => Ok(Some((Reply::Error(line), behind))),
        b'+' | b':' => Ok(Some((Reply::Value(line), behind))),
        _ => Err(not_resp(rest)),
    }
}

/// The outer `None` for a malformed length, the inner for a value that has not arrived completely.
#[expect(clippy::option_option, reason = "turned into a result by its one caller")]
fn bulk(buffer: &[u8], line: Range<usize>, behind: usize) -> Option<Option<(Reply, usize)>> {
    if &buffer[line.clone()] == b"-1" {
        return Some(Some((Reply::Value(behind..behind), behind)));
    }
    let end = behind + tape::count(&buffer[line]).filter(|len| *len <= MAX_VALUE_BYTES)? as usize;
    Some((buffer.len() >= end + 2).then_some((Reply::Value(behind..end), end + 2)))
}

fn not_resp(rest: &[u8]) -> NotResp {
    NotResp(String::from_utf8_lossy(&rest[..rest.len().min(16)]).into_owned())
}

/// A whole request.
pub(crate) fn request(arguments: &[String]) -> Vec<u8> {
    let mut text = format!("*{}\r\n", arguments.len()).into_bytes();
    text.extend(bulk_strings(arguments));
    text
}

/// Arguments as they stand in a request, without its head.
pub(crate) fn bulk_strings(arguments: &[String]) -> Vec<u8> {
    let mut text = Vec::new();
    for argument in arguments {
        for part in ["$", &argument.len().to_string(), "\r\n", argument, "\r\n"] {
            text.extend_from_slice(part.as_bytes());
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(buffer: &[u8]) -> Result<Vec<String>, NotResp> {
        let (mut found, mut at) = (Vec::new(), 0);
        while at < buffer.len() {
            let Some((reply, behind)) = next(buffer, at)? else { break };
            let (sign, range) = match reply {
                Reply::Value(range) => ("", range),
                Reply::Error(range) => ("!", range),
            };
            found.push(format!("{sign}{}", String::from_utf8_lossy(&buffer[range])));
            at = behind;
        }
        Ok(found)
    }

    const REPLIES: &[u8] = b"$15\r\n1795424694436-0\r\n-OOM command not allowed\r\n+OK\r\n:12\r\n$-1\r\n";

    #[test]
    fn values_and_errors_are_told_apart() {
        assert_eq!(all(REPLIES).unwrap(), ["1795424694436-0", "!OOM command not allowed", "OK", "12", ""]);
    }

    #[test]
    fn a_reply_cut_anywhere_is_waited_for() {
        let whole = all(REPLIES).unwrap();
        for cut in 0..REPLIES.len() {
            let some = all(&REPLIES[..cut]).unwrap();
            assert_eq!(some, whole[..some.len()], "cut at {cut}");
            assert!(some.len() < whole.len());
        }
    }

    #[test]
    fn what_is_not_resp_is_an_error() {
        assert!(all(b"HTTP/1.1 400 Bad Request\r\n").is_err());
        assert!(all(b"$x\r\n").is_err());
        assert!(all(b"\r\n").is_err());
        assert!(all(&vec![b'+'; 70_000]).is_err());
    }
}
