//! A whole reply of any shape, noted down as it arrives.
//!
//! The reply of a blocking read holds hundreds of entries of dozens of values. A tree of them would cost an
//! allocation per value; here it stays the bytes that came, and the tape says what is where in them.

use super::resp::NotResp;

/// How deep arrays may be nested: an `XREADGROUP` reply has four levels.
const MAX_DEPTH: usize = 8;

/// The longest line of a reply: a length, a number or an error's text.
const MAX_LINE_BYTES: usize = 64 * 1024;

/// One value of a reply, in the order in which they stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token {
    /// The so many values behind it belong to it.
    Array(u32),
    /// Bytes, and where they are.
    Bulk {
        /// The first byte.
        start: u32,
        /// How many.
        len: u32,
    },
    /// An error's text, without the `-`, and where it is.
    Error {
        /// The first byte.
        start: u32,
        /// How many.
        len: u32,
    },
    /// A number.
    Integer(i64),
    /// Nothing: a null bulk string or a null array.
    Nil,
}

/// What is where in a reply.
#[derive(Debug, Default)]
pub(super) struct Tape {
    pub tokens: Vec<Token>,
    /// Where the next value starts.
    at: usize,
    /// How many values each open array still waits for, the outermost first.
    open: Vec<u32>,
    is_complete: bool,
}

impl Tape {
    /// Notes down what has arrived of the reply since the last call; true once it is complete.
    ///
    /// `buffer` begins with the reply's first byte, and has only grown since the last call.
    pub(super) fn advance(&mut self, buffer: &[u8]) -> Result<bool, NotResp> {
        while !self.is_complete {
            let Some((token, behind)) = next(buffer, self.at)? else { return Ok(false) };
            self.at = behind;
            self.tokens.push(token);
            if let Token::Array(length @ 1..) = token {
                if self.open.len() == MAX_DEPTH {
                    return Err(not_resp(buffer));
                }
                self.open.push(length);
            } else {
                self.close();
            }
        }
        Ok(true)
    }

    /// A value is there: so is every array whose last one it was.
    fn close(&mut self) {
        while let Some(missing) = self.open.last_mut() {
            *missing -= 1;
            if *missing > 0 {
                return;
            }
            self.open.pop();
        }
        self.is_complete = true;
    }

    /// How many bytes the reply has.
    pub(super) fn len(&self) -> usize {
        self.at
    }
}

/// The value that starts at `at`, and where the one behind it starts; `None` if it has not arrived completely.
fn next(buffer: &[u8], at: usize) -> Result<Option<(Token, usize)>, NotResp> {
    let rest = &buffer[at..];
    let Some(line_end) = memchr::memchr(b'\n', rest) else {
        return if rest.len() > MAX_LINE_BYTES { Err(not_resp(rest)) } else { Ok(None) };
    };
    if line_end < 2 || rest[line_end - 1] != b'\r' {
        return Err(not_resp(rest));
    }
    let line = &rest[1..line_end - 1];
    let behind = at + line_end + 1;
    let length = || count(line).ok_or_else(|| not_resp(rest));
    let token = match rest[0] {
        b'$' | b'*' if line == b"-1" => Token::Nil,
        b'*' => Token::Array(length()?),
        b'$' => {
            let (start, len) = (place(behind, rest)?, length()?);
            let end = behind + len as usize;
            if buffer.len() < end + 2 {
                return Ok(None);
            }
            return Ok(Some((Token::Bulk { start, len }, end + 2)));
        }
        b'+' => Token::Bulk { start: place(at + 1, rest)?, len: place(line.len(), rest)? },
        b'-' => Token::Error { start: place(at + 1, rest)?, len: place(line.len(), rest)? },
        b':' => Token::Integer(number(line).ok_or_else(|| not_resp(rest))?),
        _ => return Err(not_resp(rest)),
    };
    Ok(Some((token, behind)))
}

/// A place in the reply; a reply of 4 GiB is none that we asked for.
fn place(at: usize, rest: &[u8]) -> Result<u32, NotResp> {
    u32::try_from(at).map_err(|_| not_resp(rest))
}

/// A length, of digits alone.
pub(super) fn count(line: &[u8]) -> Option<u32> {
    if line.is_empty() {
        return None;
    }
    line.iter().try_fold(0_u32, |number, digit| {
        let digit = digit.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        number.checked_mul(10)?.checked_add(digit.into())
    })
}

fn number(line: &[u8]) -> Option<i64> {
    std::str::from_utf8(line).ok()?.parse().ok()
}

fn not_resp(rest: &[u8]) -> NotResp {
    NotResp(String::from_utf8_lossy(&rest[..rest.len().min(16)]).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPLY: &[u8] =
        b"*1\r\n*2\r\n$1\r\ns\r\n*3\r\n*2\r\n$3\r\n5-0\r\n*2\r\n$1\r\na\r\n$0\r\n\r\n*-1\r\n*0\r\n";

    fn tokens(buffer: &[u8]) -> Result<Option<Vec<Token>>, NotResp> {
        let mut tape = Tape::default();
        Ok(tape.advance(buffer)?.then_some(tape.tokens))
    }

    #[test]
    fn a_nested_reply_is_noted_down_in_order() {
        use Token::{Array, Bulk, Nil};
        let bulk = |start, len| Bulk { start, len };
        let expected = [
            Array(1),
            Array(2),
            bulk(12, 1),
            Array(3),
            Array(2),
            bulk(27, 3),
            Array(2),
            bulk(40, 1),
            bulk(47, 0),
            Nil,
            Array(0),
        ];
        assert_eq!(tokens(REPLY).unwrap().unwrap(), expected);
    }

    #[test]
    fn a_reply_that_arrives_byte_by_byte_is_the_same() {
        let mut tape = Tape::default();
        for end in 0..REPLY.len() {
            assert!(!tape.advance(&REPLY[..end]).unwrap(), "complete after {end} bytes");
        }
        assert!(tape.advance(REPLY).unwrap());
        assert_eq!((tape.tokens, tape.at), (tokens(REPLY).unwrap().unwrap(), REPLY.len()));
    }

    #[test]
    fn errors_numbers_and_nothing_are_whole_replies() {
        assert_eq!(tokens(b"-ERR no\r\n").unwrap().unwrap(), [Token::Error { start: 1, len: 6 }]);
        assert_eq!(tokens(b":-12\r\n").unwrap().unwrap(), [Token::Integer(-12)]);
        assert_eq!(tokens(b"*-1\r\n").unwrap().unwrap(), [Token::Nil]);
        assert_eq!(tokens(b"+OK\r\n").unwrap().unwrap(), [Token::Bulk { start: 1, len: 2 }]);
    }

    #[test]
    fn what_is_not_resp_is_an_error() {
        for bad in
            [&b"HTTP/1.1 400\r\n"[..], b"$x\r\n", b"\r\n", b"*\r\n", b"$-2\r\n", b":1\n", b"$99999999999\r\n"]
        {
            assert!(tokens(bad).is_err(), "{}", String::from_utf8_lossy(bad));
        }
        assert!(tokens(&vec![b'+'; 70_000]).is_err());
        assert!(tokens(&b"*1\r\n".repeat(MAX_DEPTH + 1)).is_err());
    }
}
