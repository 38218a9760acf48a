//! Commands as they are typed into a shell, for the server at hand.

use std::borrow::Cow;

use synapse_rs::{RedisSettings, config::Endpoint, doctor::Remedy};

/// How `redis-cli` and `synapse` are called for one server.
#[derive(Clone, Debug)]
pub(crate) struct Commands {
    redis_cli: String,
    synapse: String,
}

impl Commands {
    /// Without its password, which `redis-cli` asks for.
    pub(crate) fn of(settings: &RedisSettings) -> Self {
        let mut redis_cli = "redis-cli".to_owned();
        let default = RedisSettings::default();
        match &settings.endpoint {
            Endpoint::Tcp { host, port } => {
                if !matches!(host.as_str(), "127.0.0.1" | "localhost") {
                    redis_cli += &format!(" -h {}", quoted(host));
                }
                if settings.endpoint != default.endpoint {
                    redis_cli += &format!(" -p {port}");
                }
            }
            Endpoint::Unix(path) => redis_cli += &format!(" -s {}", quoted(&path.to_string_lossy())),
        }
        if settings.database != 0 {
            redis_cli += &format!(" -n {}", settings.database);
        }
        if settings.tls.is_some() {
            redis_cli += " --tls";
        }
        if let Some(user) = &settings.username {
            redis_cli += &format!(" --user {}", quoted(user));
        }
        if settings.password.is_some() {
            redis_cli += " --askpass";
        }
        Self { redis_cli, synapse: "synapse".to_owned() }
    }

    /// What is typed for a remedy, and what stands in a file; nothing for words.
    pub(crate) fn lines(&self, remedy: &Remedy) -> Vec<String> {
        match remedy {
            Remedy::Advice(_) => Vec::new(),
            Remedy::Setting { name, value } => {
                vec![self.set(name, value), format!("and in redis.conf: {}", setting(name, value))]
            }
            Remedy::Redis(arguments) => vec![self.redis(arguments)],
            Remedy::Synapse(arguments) => vec![self.synapse(arguments)],
        }
    }

    /// `redis-cli … CONFIG SET …`.
    pub(crate) fn set(&self, name: &str, value: &str) -> String {
        self.redis(&["CONFIG".to_owned(), "SET".to_owned(), name.to_owned(), value.to_owned()])
    }

    /// `redis-cli …`.
    pub(crate) fn redis(&self, arguments: &[String]) -> String {
        joined(&self.redis_cli, arguments)
    }

    /// `synapse …`.
    pub(crate) fn synapse(&self, arguments: &[String]) -> String {
        joined(&self.synapse, arguments)
    }
}

/// A line of `redis.conf`.
pub(crate) fn setting(name: &str, value: &str) -> String {
    format!("{name} {value}")
}

fn joined(program: &str, arguments: &[String]) -> String {
    arguments.iter().fold(program.to_owned(), |line, argument| line + " " + &quoted(argument))
}

/// An argument as a shell takes it.
pub(crate) fn quoted(argument: &str) -> Cow<'_, str> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_=+:,./@%".contains(c);
    if !argument.is_empty() && argument.chars().all(is_plain) {
        return Cow::Borrowed(argument);
    }
    Cow::Owned(format!("'{}'", argument.replace('\'', r"'\''")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redis_cli(url: &str) -> String {
        Commands::of(&RedisSettings::from_url(url).unwrap()).redis(&["PING".to_owned()])
    }

    #[test]
    fn redis_cli_gets_what_it_needs_to_find_the_server_but_no_password() {
        assert_eq!(redis_cli("redis://127.0.0.1:6379"), "redis-cli PING");
        assert_eq!(redis_cli("redis://127.0.0.1:6380/2"), "redis-cli -p 6380 -n 2 PING");
        assert_eq!(redis_cli("rediss://cache"), "redis-cli -h cache -p 6379 --tls PING");
        assert_eq!(
            redis_cli("redis://me:secret@cache:1"),
            "redis-cli -h cache -p 1 --user me --askpass PING"
        );
        assert_eq!(redis_cli("redis+unix:///run/a%20b.sock"), "redis-cli -s '/run/a b.sock' PING");
    }

    #[test]
    fn what_a_shell_would_read_otherwise_is_quoted() {
        let of = |argument: &str| quoted(argument).into_owned();
        assert_eq!(of("inference-events:dlq"), "inference-events:dlq");
        assert_eq!(of(""), "''");
        assert_eq!(of("it's; rm -rf $HOME"), r"'it'\''s; rm -rf $HOME'");
        assert_eq!(of("*"), "'*'");
    }
}
