//! Reads what Python's `repr` writes for plain data, where JSON was meant.
//!
//! `{'user_id': '42', 'ok': True}` is such a text. Dictionaries, lists, tuples, sets, strings,
//! bytes that are UTF-8, numbers, `True`, `False` and `None` are read, as their JSON counterparts;
//! NaN, infinities and objects of other classes are not, nor is anything nested deeper than
//! [`MAX_DEPTH`].

use serde_json::{Map, Number, Value};

/// How deep containers may lie within each other.
pub(super) const MAX_DEPTH: usize = 64;

/// The value of a Python literal; `None` if the text is not one that JSON can hold.
///
/// Keys that are numbers, booleans or `None` become text, as Python's `json.dumps` writes them.
pub(super) fn parse(text: &str) -> Option<Value> {
    let mut reader = Reader { text, at: 0, depth: 0 };
    let value = reader.value()?;
    reader.skip_space();
    (reader.at == text.len()).then_some(value)
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
}

impl Reader<'_> {
    fn value(&mut self) -> Option<Value> {
        self.skip_space();
        match self.peek()? {
            b'{' => self.nested(Self::braces),
            b'[' => self.nested(|reader| Some(Value::Array(reader.items(b']')?.0))),
            b'(' => self.nested(Self::tuple),
            b'\'' | b'"' => Some(Value::String(self.string()?)),
            b'-' | b'0'..=b'9' => Some(Value::Number(self.number()?)),
            _ => self.word(),
        }
    }

    /// Reads a container, whose opening bracket is next.
    fn nested(&mut self, read: impl FnOnce(&mut Self) -> Option<Value>) -> Option<Value> {
        if self.depth == MAX_DEPTH {
            return None;
        }
        self.depth += 1;
        self.at += 1;
        let value = read(self)?;
        self.depth -= 1;
        Some(value)
    }

    /// A dictionary or a set, after its `{`.
    fn braces(&mut self) -> Option<Value> {
        self.skip_space();
        if self.take(b'}') {
            return Some(Value::Object(Map::new()));
        }
        let first = self.value()?;
        self.skip_space();
        if self.peek()? != b':' {
            let mut items = vec![first];
            if self.next_item(b'}')? {
                items.append(&mut self.items(b'}')?.0);
            }
            return Some(Value::Array(items));
        }
        let mut fields = Map::new();
        let mut field = key(first)?;
        loop {
            self.skip_space();
            if !self.take(b':') {
                return None;
            }
            fields.insert(field, self.value()?);
            if !self.next_item(b'}')? {
                return Some(Value::Object(fields));
            }
            self.skip_space();
            if self.take(b'}') {
                return Some(Value::Object(fields));
            }
            field = key(self.value()?)?;
        }
    }

    /// A tuple, or a value in parentheses, after its `(`.
    fn tuple(&mut self) -> Option<Value> {
        let (mut items, ends_with_comma) = self.items(b')')?;
        match items.len() {
            1 if !ends_with_comma => items.pop(),
            _ => Some(Value::Array(items)),
        }
    }

    /// Items up to and with the closing bracket, and whether a comma stood before it.
    fn items(&mut self, close: u8) -> Option<(Vec<Value>, bool)> {
        let mut items = Vec::new();
        loop {
            self.skip_space();
            if self.take(close) {
                let ends_with_comma = !items.is_empty();
                return Some((items, ends_with_comma));
            }
            items.push(self.value()?);
            if !self.next_item(close)? {
                return Some((items, false));
            }
        }
    }

    /// After an item: true past a comma, false past the closing bracket.
    fn next_item(&mut self, close: u8) -> Option<bool> {
        self.skip_space();
        if self.take(b',') {
            return Some(true);
        }
        self.take(close).then_some(false)
    }

    fn word(&mut self) -> Option<Value> {
        const WORDS: [(&str, Value); 3] =
            [("True", Value::Bool(true)), ("False", Value::Bool(false)), ("None", Value::Null)];
        let rest = &self.text[self.at..];
        if rest.starts_with("b'") || rest.starts_with("b\"") {
            self.at += 1;
            return String::from_utf8(self.escaped(true)?).ok().map(Value::String);
        }
        for (call, empty) in [("set()", true), ("frozenset()", true), ("frozenset(", false)] {
            if rest.starts_with(call) {
                self.at += call.len();
                return if empty { Some(Value::Array(Vec::new())) } else { self.frozen_set() };
            }
        }
        let length = rest.bytes().take_while(|byte| byte.is_ascii_alphanumeric() || *byte == b'_').count();
        let (_, value) = WORDS.into_iter().find(|(word, _)| *word == &rest[..length])?;
        self.at += length;
        Some(value)
    }

    /// The set in `frozenset({1, 2})`, after the `(`.
    fn frozen_set(&mut self) -> Option<Value> {
        let set = self.value().filter(Value::is_array)?;
        self.take(b')').then_some(set)
    }

    /// An integer, or a float in any form that `repr` writes.
    fn number(&mut self) -> Option<Number> {
        let rest = &self.text[self.at..];
        let is_part = |byte: &u8| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E');
        let text = &rest[..rest.bytes().take_while(|byte| is_part(byte)).count()];
        self.at += text.len();
        let whole = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
        let exact =
            || text.parse::<u64>().map(Number::from).or_else(|_| text.parse::<i64>().map(Number::from));
        // Integers beyond 64 bits are read as JSON readers do: as the nearest float.
        let nearest = || text.parse().ok().filter(|number: &f64| number.is_finite());
        match whole.then(exact) {
            Some(Ok(number)) => Some(number),
            _ => nearest().and_then(Number::from_f64),
        }
    }

    fn string(&mut self) -> Option<String> {
        String::from_utf8(self.escaped(false)?).ok()
    }

    /// The bytes of a literal in quotes, the opening one being next.
    fn escaped(&mut self, is_bytes: bool) -> Option<Vec<u8>> {
        let quote = self.peek()?;
        self.at += 1;
        let mut text = Vec::new();
        loop {
            let rest = &self.text.as_bytes()[self.at..];
            let plain = memchr::memchr3(quote, b'\\', b'\n', rest)?;
            text.extend_from_slice(&rest[..plain]);
            self.at += plain + 1;
            match rest[plain] {
                b'\n' => return None,
                b'\\' => self.escape(is_bytes, &mut text)?,
                _ => return Some(text),
            }
        }
    }

    /// One escape, after its backslash.
    fn escape(&mut self, is_bytes: bool, text: &mut Vec<u8>) -> Option<()> {
        let escape = self.peek()?;
        self.at += 1;
        let plain = match escape {
            b'\\' | b'\'' | b'"' => escape,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'a' => 0x07,
            b'b' => 0x08,
            b'f' => 0x0c,
            b'v' => 0x0b,
            b'0' => 0,
            b'x' => {
                let code = self.hex(2)?;
                return if is_bytes {
                    text.push(u8::try_from(code).ok()?);
                    Some(())
                } else {
                    push_char(text, code)
                };
            }
            b'u' if !is_bytes => return push_char(text, self.hex(4)?),
            b'U' if !is_bytes => return push_char(text, self.hex(8)?),
            _ => return None,
        };
        text.push(plain);
        Some(())
    }

    fn hex(&mut self, digits: usize) -> Option<u32> {
        let text = self.text.get(self.at..self.at + digits)?;
        if !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        self.at += digits;
        u32::from_str_radix(text, 16).ok()
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn take(&mut self, byte: u8) -> bool {
        let is_next = self.peek() == Some(byte);
        self.at += usize::from(is_next);
        is_next
    }

    fn skip_space(&mut self) {
        while self.peek().is_some_and(|byte| byte.is_ascii_whitespace()) {
            self.at += 1;
        }
    }
}

/// A dictionary's key as the text that `json.dumps` makes of it.
fn key(value: Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(value) => Some(value.to_string()),
        Value::Null => Some("null".to_owned()),
        Value::Array(_) | Value::Object(_) => None,
    }
}

/// Surrogates, which are no characters, are refused.
fn push_char(text: &mut Vec<u8>, code: u32) -> Option<()> {
    let mut utf8 = [0; 4];
    text.extend_from_slice(char::from_u32(code)?.encode_utf8(&mut utf8).as_bytes());
    Some(())
}

#[cfg(test)]
mod tests;
