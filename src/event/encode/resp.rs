//! Bulk strings, in which Redis takes the parts of a command: `$3\r\nabc\r\n`.

use std::ops::Range;

/// Bytes of the longest head: `$`, the digits of `usize::MAX`, `\r\n`.
const HEAD: usize = 1 + 20 + 2;
/// The longest bulk string: Redis takes no longer one (`proto-max-bulk-len`).
pub(super) const MAX_BULK_BYTES: usize = 512 * 1024 * 1024;

/// Appends a bulk string and says where its text is.
#[inline]
pub(super) fn push_bulk(body: &mut Vec<u8>, text: &[u8]) -> Range<usize> {
    body.reserve(text.len() + HEAD + 2);
    push_head(body, text.len());
    let start = body.len();
    body.extend_from_slice(text);
    body.extend_from_slice(b"\r\n");
    start..start + text.len()
}

/// Appends `$len\r\n`.
#[inline]
pub(super) fn push_head(body: &mut Vec<u8>, len: usize) {
    match u8::try_from(len) {
        Ok(len @ 0..=9) => body.extend_from_slice(&[b'$', b'0' + len, b'\r', b'\n']),
        Ok(len @ 10..=99) => {
            body.extend_from_slice(&[b'$', b'0' + len / 10, b'0' + len % 10, b'\r', b'\n']);
        }
        _ => {
            body.push(b'$');
            body.extend_from_slice(itoa::Buffer::new().format(len).as_bytes());
            body.extend_from_slice(b"\r\n");
        }
    }
}

/// Appends a bulk string whose text is not known yet: `write` appends the text, its head is put
/// before it afterwards. Says where the text is.
pub(super) fn push_bulk_with<E>(
    body: &mut Vec<u8>,
    write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
) -> Result<Range<usize>, E> {
    let start = body.len();
    body.extend_from_slice(&[0; HEAD]);
    let text = start + HEAD;
    write(body)?;
    let len = body.len().checked_sub(text).expect("a writer of JSON appends only");
    let mut head = itoa::Buffer::new();
    let digits = head.format(len).as_bytes();
    let moved = start + digits.len() + 3;
    body.copy_within(text.., moved);
    body.truncate(moved + len);
    body[start] = b'$';
    body[start + 1..moved - 2].copy_from_slice(digits);
    body[moved - 2..moved].copy_from_slice(b"\r\n");
    body.extend_from_slice(b"\r\n");
    Ok(moved..moved + len)
}

/// Reads a body back into its field/value pairs; `None` if it is not made of pairs of bulk strings.
///
/// ```
/// use synapse_rs::event::encode::read_pairs;
///
/// let pairs = read_pairs(b"$5\r\nevent\r\n$5\r\nerror\r\n").unwrap();
/// assert_eq!(pairs, [(&b"event"[..], &b"error"[..])]);
/// ```
pub fn read_pairs(mut body: &[u8]) -> Option<Vec<(&[u8], &[u8])>> {
    let mut pairs = Vec::new();
    while !body.is_empty() {
        pairs.push((take_bulk(&mut body)?, take_bulk(&mut body)?));
    }
    Some(pairs)
}

fn take_bulk<'a>(body: &mut &'a [u8]) -> Option<&'a [u8]> {
    let rest = body.strip_prefix(b"$")?;
    let digits = memchr::memchr(b'\r', rest)?;
    let len: usize = std::str::from_utf8(&rest[..digits]).ok()?.parse().ok()?;
    let rest = rest[digits..].strip_prefix(b"\r\n")?;
    let (text, rest) = rest.split_at_checked(len)?;
    *body = rest.strip_prefix(b"\r\n")?;
    Some(text)
}
