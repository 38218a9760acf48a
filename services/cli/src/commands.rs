//! Commands as they are typed into a shell, for the server at hand.

use std::borrow::Cow;

use synapse_rs::{RedisSettings, config::Endpoint, doctor::Remedy};

/// How `redis-cli` and `synapse` are called for one server.
#[derive(Clone, Debug)]
pub(crate) struct Commands {
    redis_cli: Vec<String>,
    synapse: Vec<String>,
}

impl Commands {
    /// Without its password, which `redis-cli` asks for.
    ///
    /// `by_flag` is whether the server was given as `--redis-url`, which then has to be given again.
    pub(crate) fn of(settings: &RedisSettings, by_flag: bool) -> Self {
        let mut redis_cli = vec!["redis-cli".to_owned()];
        let mut give = |flag: &str, value: Option<String>| {
            redis_cli.push(flag.to_owned());
            redis_cli.extend(value);
        };
        match &settings.endpoint {
            Endpoint::Tcp { host, port } => {
                if !matches!(host.as_str(), "127.0.0.1" | "localhost") {
                    give("-h", Some(host.clone()));
                }
                if settings.endpoint != RedisSettings::default().endpoint {
                    give("-p", Some(port.to_string()));
                }
            }
            Endpoint::Unix(path) => give("-s", Some(path.to_string_lossy().into_owned())),
        }
        if settings.database != 0 {
            give("-n", Some(settings.database.to_string()));
        }
        if settings.tls.is_some() {
            give("--tls", None);
        }
        if settings.username.is_some() {
            give("--user", settings.username.clone());
        }
        if settings.password.is_some() {
            give("--askpass", None);
        }
        let mut synapse = vec!["synapse".to_owned()];
        if by_flag {
            synapse.extend(["--redis-url".to_owned(), settings.to_string()]);
        }
        Self { redis_cli, synapse }
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

fn joined(program: &[String], arguments: &[String]) -> String {
    let words: Vec<_> = program.iter().chain(arguments).map(|word| quoted(word)).collect();
    words.join(" ")
}

/// An argument as a shell takes it.
fn quoted(argument: &str) -> Cow<'_, str> {
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
        Commands::of(&RedisSettings::from_url(url).unwrap(), false).redis(&["PING".to_owned()])
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
    fn our_own_commands_get_the_flag_that_this_one_got_without_what_is_secret() {
        let settings = RedisSettings::from_url("redis://me:secret@cache:1/2").unwrap();
        let streams = ["streams".to_owned()];
        assert_eq!(Commands::of(&settings, false).synapse(&streams), "synapse streams");
        assert_eq!(
            Commands::of(&settings, true).synapse(&streams),
            "synapse --redis-url redis://cache:1/2 streams"
        );
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
