//! The names of rooms.

use std::fmt;

/// The longest id of a user, organisation or room, in bytes.
pub const MAX_ROOM_BYTES: usize = 256;

/// A set of connections that get something together.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Room {
    /// The connections of one user.
    User(Box<str>),
    /// The connections of the users of one organisation.
    Organisation(Box<str>),
    /// Those who may see every event.
    AllEvents,
    /// Any other, by its name.
    Named(Box<str>),
}

/// A name that no room can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a room's name has 1 to {MAX_ROOM_BYTES} bytes, this one has {0}")]
pub struct InvalidRoom(pub usize);

impl Room {
    /// The room of a user.
    pub fn user(id: &str) -> Result<Self, InvalidRoom> {
        checked(id).map(Self::User)
    }

    /// The room of an organisation.
    pub fn organisation(id: &str) -> Result<Self, InvalidRoom> {
        checked(id).map(Self::Organisation)
    }

    /// A room by the name clients give it: `user_<id>` and `user:<id>` are the user's.
    pub fn named(name: &str) -> Result<Self, InvalidRoom> {
        match name.strip_prefix("user_").or_else(|| name.strip_prefix("user:")) {
            Some(id) => Self::user(id),
            None => checked(name).map(Self::Named),
        }
    }
}

impl fmt::Display for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(id) => write!(f, "user:{id}"),
            Self::Organisation(id) => write!(f, "organization:{id}"),
            Self::AllEvents => f.write_str("all-events"),
            Self::Named(name) => f.write_str(name),
        }
    }
}

fn checked(id: &str) -> Result<Box<str>, InvalidRoom> {
    if (1..=MAX_ROOM_BYTES).contains(&id.len()) { Ok(id.into()) } else { Err(InvalidRoom(id.len())) }
}
