//! An event's two forms: a request to the server, and a record on disk.
//!
//! ```text
//! request:  *<count>\r\n  XADD stream [MAXLEN ~ n] * as bulk strings   the entry's fields as bulk strings
//! record:   version u8 | head's arguments u8 | length of the name u16 | name | *<count>\r\n | fields
//! ```
//!
//! A record has no `MAXLEN`: what counts is the setting of the publisher that sends it.

use std::sync::Arc;

use crate::stream::append::AppendHead;

/// The one form of records that there is.
const VERSION: u8 = 1;

/// A stream that is written to.
#[derive(Clone, Debug)]
pub(super) struct Stream {
    pub name: Arc<str>,
    /// What a request for it begins with.
    pub head: Arc<AppendHead>,
    /// What a record for it begins with.
    pub label: Arc<[u8]>,
}

impl Stream {
    pub(super) fn new(name: &str, maxlen: u64) -> Self {
        let head = AppendHead::new(name, maxlen);
        let mut label =
            vec![VERSION, u8::try_from(head.arguments).expect("a head has six arguments at most")];
        let len = u16::try_from(name.len()).expect("the names of streams are bounded far below 64 KiB");
        label.extend(len.to_le_bytes());
        label.extend(name.as_bytes());
        Self { name: name.into(), head: Arc::new(head), label: label.into() }
    }

    /// The line of a request that says how many arguments it has.
    pub(super) fn count<'a>(&self, request: &'a [u8]) -> &'a [u8] {
        &request[..request.len() - self.head.text.len() - self.body(request).len()]
    }

    /// The entry's fields of a request for this stream.
    pub(super) fn body<'a>(&self, request: &'a [u8]) -> &'a [u8] {
        let line = memchr::memchr(b'\n', request).expect("a request begins with a line") + 1;
        &request[line + self.head.text.len()..]
    }
}

/// The stream, the number of fields, and the fields as bulk strings; `None` if the record has another form.
pub(super) fn split(record: &[u8]) -> Option<(&[u8], usize, &[u8])> {
    let (&[version, arguments, low, high], rest) = record.split_first_chunk()?;
    let (name, rest) = rest.split_at_checked(u16::from_le_bytes([low, high]).into())?;
    let line = memchr::memchr(b'\n', rest)?;
    let digits = rest[..line].strip_prefix(b"*")?.strip_suffix(b"\r")?;
    let count: usize = std::str::from_utf8(digits).ok()?.parse().ok()?;
    let fields = count.checked_sub(arguments.into())?;
    (version == VERSION && fields.is_multiple_of(2)).then_some((name, fields / 2, &rest[line + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_and_its_record_say_the_same() {
        let stream = Stream::new("s-1", 1_000);
        let body = b"$5\r\nevent\r\n$1\r\nx\r\n";
        let request = [b"*8\r\n", &*stream.head.text, body].concat();
        assert_eq!((stream.count(&request), stream.body(&request)), (&b"*8\r\n"[..], &body[..]));
        let record = [&*stream.label, stream.count(&request), stream.body(&request)].concat();
        assert_eq!(split(&record), Some((&b"s-1"[..], 1, &body[..])));
    }

    #[test]
    fn what_is_no_record_is_told() {
        let stream = Stream::new("s", 0);
        let record = [&*stream.label, b"*5\r\n$1\r\na\r\n$1\r\nb\r\n"].concat();
        assert!(split(&record).is_some());
        for cut in 0..9 {
            assert_eq!(split(&record[..cut]), None, "cut at {cut}");
        }
        assert_eq!(split(b"\x02\x03\x01\x00s*5\r\n"), None, "another version");
        assert_eq!(split(b"\x01\x03\x01\x00s*2\r\n"), None, "fewer arguments than its head");
    }
}
