//! A value to be matched, in a form in which equal values look the same.

use serde_json::Value;

/// A JSON value with numbers by value and objects without order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Wanted {
    Null,
    Bool(bool),
    Number(Quantity),
    Text(String),
    List(Vec<Self>),
    /// Sorted by name.
    Object(Vec<(String, Self)>),
}

/// A number: an integer however it is written, else the bits of a float.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Quantity {
    Integer(i128),
    Fraction(u64),
}

impl Wanted {
    /// The form of a value; `None` if it is nested deeper than `depth`.
    pub(super) fn of(value: &Value, depth: usize) -> Option<Self> {
        let inner = depth.checked_sub(1);
        Some(match value {
            Value::Null => Self::Null,
            Value::Bool(value) => Self::Bool(*value),
            Value::Number(number) => Self::Number(Quantity::of(number)),
            Value::String(text) => Self::Text(text.clone()),
            Value::Array(items) => {
                let inner = inner?;
                Self::List(items.iter().map(|item| Self::of(item, inner)).collect::<Option<_>>()?)
            }
            Value::Object(fields) => {
                let inner = inner?;
                let field = |(name, value): (&String, &Value)| Some((name.clone(), Self::of(value, inner)?));
                let mut fields: Vec<_> = fields.iter().map(field).collect::<Option<_>>()?;
                fields.sort_unstable();
                Self::Object(fields)
            }
        })
    }

    /// Whether a value has this form.
    pub(super) fn is(&self, value: &Value) -> bool {
        match (self, value) {
            (Self::Null, Value::Null) => true,
            (Self::Bool(wanted), Value::Bool(value)) => wanted == value,
            (Self::Number(wanted), Value::Number(number)) => *wanted == Quantity::of(number),
            (Self::Text(wanted), Value::String(text)) => wanted == text,
            (Self::List(wanted), Value::Array(items)) => {
                wanted.len() == items.len() && wanted.iter().zip(items).all(|(wanted, item)| wanted.is(item))
            }
            (Self::Object(wanted), Value::Object(fields)) => {
                let has =
                    |(name, wanted): &(String, Self)| fields.get(name).is_some_and(|value| wanted.is(value));
                wanted.len() == fields.len() && wanted.iter().all(has)
            }
            _ => false,
        }
    }

    /// Bytes of its texts and names; 8 for anything else.
    pub(super) fn size_bytes(&self) -> usize {
        match self {
            Self::Null | Self::Bool(_) | Self::Number(_) => 8,
            Self::Text(text) => text.len(),
            Self::List(items) => 8 + items.iter().map(Self::size_bytes).sum::<usize>(),
            Self::Object(fields) => {
                8 + fields.iter().map(|(name, value)| name.len() + value.size_bytes()).sum::<usize>()
            }
        }
    }
}

impl Quantity {
    fn of(number: &serde_json::Number) -> Self {
        /// 2⁶⁴; integers beyond are floats in every JSON value.
        const END: f64 = 18_446_744_073_709_551_616.0;
        if let Some(number) = number.as_u64() {
            return Self::Integer(number.into());
        }
        if let Some(number) = number.as_i64() {
            return Self::Integer(number.into());
        }
        let number = number.as_f64().unwrap_or(f64::NAN);
        if number.fract() == 0.0 && (-END..END).contains(&number) {
            #[expect(clippy::cast_possible_truncation, reason = "an integer below 2^64")]
            return Self::Integer(number as i128);
        }
        Self::Fraction(number.to_bits())
    }
}
