use std::{fmt, sync::Arc};

use bytes::Bytes;

use super::{EntryId, tape::Token};

/// One entry of a stream, as Redis holds it.
#[derive(Clone)]
pub struct Entry {
    /// Its place in the stream.
    pub id: EntryId,
    fields: Fields,
}

#[derive(Clone)]
enum Fields {
    /// Each value by itself.
    Own(Vec<(Bytes, Bytes)>),
    /// A part of the reply that brought it.
    Part { reply: Arc<Reply>, first: u32, pairs: u32 },
}

/// A reply, and what is where in it; its entries keep it alive.
pub(super) struct Reply {
    pub bytes: Vec<u8>,
    pub tokens: Vec<Token>,
}

impl Reply {
    /// The bytes of a value; empty if it has none.
    pub(super) fn text(&self, index: usize) -> &[u8] {
        match self.tokens[index] {
            Token::Bulk { start, len } | Token::Error { start, len } => {
                &self.bytes[start as usize..start as usize + len as usize]
            }
            _ => &[],
        }
    }
}

impl Entry {
    /// An entry of these field/value pairs.
    pub fn new(id: EntryId, fields: Vec<(Bytes, Bytes)>) -> Self {
        Self { id, fields: Fields::Own(fields) }
    }

    /// An entry whose so many pairs of values begin with the token `first` of a reply.
    pub(super) fn part(id: EntryId, reply: &Arc<Reply>, first: u32, pairs: u32) -> Self {
        Self { id, fields: Fields::Part { reply: reply.clone(), first, pairs } }
    }

    /// The field/value pairs, in order.
    pub fn fields(&self) -> impl ExactSizeIterator<Item = (&[u8], &[u8])> {
        let pairs = match &self.fields {
            Fields::Own(pairs) => pairs.len(),
            Fields::Part { pairs, .. } => *pairs as usize,
        };
        (0..pairs).map(|pair| match &self.fields {
            Fields::Own(pairs) => (pairs[pair].0.as_ref(), pairs[pair].1.as_ref()),
            Fields::Part { reply, first, .. } => {
                let field = *first as usize + 2 * pair;
                (reply.text(field), reply.text(field + 1))
            }
        })
    }

    /// The field/value pairs, in order, to keep.
    pub fn to_pairs(&self) -> Vec<(Bytes, Bytes)> {
        let keep =
            |(field, value): (&[u8], &[u8])| (Bytes::copy_from_slice(field), Bytes::copy_from_slice(value));
        self.fields().map(keep).collect()
    }

    /// Bytes of all names and values.
    pub fn size_bytes(&self) -> usize {
        self.fields().map(|(field, value)| field.len() + value.len()).sum()
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id && self.fields().eq(other.fields())
    }
}

impl Eq for Entry {}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut entry = f.debug_map();
        entry.entry(&"id", &self.id.to_string());
        for (field, value) in self.fields() {
            entry.entry(&String::from_utf8_lossy(field), &String::from_utf8_lossy(value));
        }
        entry.finish()
    }
}
