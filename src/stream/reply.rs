//! What the server's error replies mean.

/// The codes of errors that pass by themselves: the server is out of memory, can't persist, is
/// loading, is a replica for the moment, is moving slots, or has not been given its password yet.
const WAITED_OUT: [&str; 9] =
    ["OOM", "MISCONF", "LOADING", "READONLY", "TRYAGAIN", "CLUSTERDOWN", "MASTERDOWN", "NOAUTH", "BUSY"];

/// Whether a command answered with this error may work later without anyone changing the command.
///
/// `error` is the server's text, starting with its code, without the leading `-`.
pub fn is_waited_out(error: &str) -> bool {
    let code = error.split(' ').next().unwrap_or_default();
    WAITED_OUT.contains(&code)
}
