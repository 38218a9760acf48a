//! Which names streams and groups may have, and which streams may be written to by whoever asks.

use super::DEAD_LETTER_SUFFIX;

/// The longest name of a stream or group, in bytes.
pub const MAX_NAME_BYTES: usize = 512;
/// What keys that are no streams begin with: locks, replays.
pub const OWN_PREFIX: &str = "synapse:";

/// What is wrong with a name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// It is empty or too long.
    #[error("the name of the {what} has {bytes} bytes, expected 1 to {MAX_NAME_BYTES}")]
    Length {
        /// `stream` or `group`.
        what: &'static str,
        /// How long it is.
        bytes: usize,
    },
    /// It would garble every list it is in.
    #[error("the name of the {what} has the control character {found:?}, which none can have")]
    Control {
        /// `stream` or `group`.
        what: &'static str,
        /// The first one.
        found: char,
    },
    /// It is the name of a stream's dead letters.
    #[error("{0:?} holds dead letters, which only consumers write; publish to the stream itself")]
    DeadLetters(String),
    /// It is one of the platform's own keys, or may become one.
    #[error("{0:?} is kept for the platform's own keys; use another name")]
    Own(String),
}

/// Refuses names that no stream or group can sensibly have; `what` is which of them it is to be.
pub fn check_name(what: &'static str, name: &str) -> Result<(), NameError> {
    if name.is_empty() || name.len() > MAX_NAME_BYTES {
        return Err(NameError::Length { what, bytes: name.len() });
    }
    match name.chars().find(|c| c.is_control()) {
        Some(found) => Err(NameError::Control { what, found }),
        None => Ok(()),
    }
}

/// Refuses streams that no one can sensibly have, and those that only the platform itself writes to.
pub fn check_writable(stream: &str) -> Result<(), NameError> {
    check_name("stream", stream)?;
    if stream.ends_with(DEAD_LETTER_SUFFIX) {
        return Err(NameError::DeadLetters(excerpt(stream)));
    }
    if stream.starts_with(OWN_PREFIX) {
        return Err(NameError::Own(excerpt(stream)));
    }
    Ok(())
}

/// As much of a name as a message needs.
fn excerpt(name: &str) -> String {
    name.chars().take(60).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_garble_lists_or_are_the_platform_s_own_are_refused() {
        let longest = "n".repeat(MAX_NAME_BYTES);
        for name in ["model-events", "a/b c:d", "ünï", "synapse", longest.as_str()] {
            assert_eq!(check_writable(name), Ok(()), "{name}");
        }
        let long = "n".repeat(MAX_NAME_BYTES + 1);
        assert_eq!(check_name("group", ""), Err(NameError::Length { what: "group", bytes: 0 }));
        assert!(matches!(check_writable(&long), Err(NameError::Length { bytes: 513, .. })));
        assert!(matches!(check_writable("a\nb"), Err(NameError::Control { found: '\n', .. })));
        assert!(matches!(check_writable("model-events:dlq"), Err(NameError::DeadLetters(_))));
        assert!(matches!(check_writable("synapse:trimmer"), Err(NameError::Own(_))));
    }
}
