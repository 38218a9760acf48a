use std::{io::Write as _, path::Path, time::Duration};

use synapse_rs::config::{Endpoint, Secret};

use super::*;
use crate::identity::{IDENTITY, KeySource, Trust};

const ABOUT: About = About {
    name: "synapse-example",
    version: "1.2.3",
    summary: "an example",
    default_port: 5000,
    variables: EXAMPLE,
    shared: &[],
    commands: &[],
};

crate::variables! {
    /// The example's own.
    EXAMPLE:
    /// How much may wait.
    OUTBOX_BYTES: Bytes = "1MiB";
    /// How long
    /// to wait.
    PATIENCE: Duration;
}

crate::variables! {
    /// Of its command.
    STEPS:
    /// The first step.
    FROM: Number = "1";
}

fn read(variables: &[(&str, &str)]) -> Result<Common, SettingError> {
    Common::read(&Environment::from_map(variables.iter().copied()), 5000)
}

fn refused(variables: &[(&str, &str)]) -> String {
    read(variables).expect_err("these settings are wrong").to_string()
}

fn file_with(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

#[test]
fn defaults_serve_this_machine_only() {
    let common = read(&[]).unwrap();
    assert_eq!((common.host.as_str(), common.port, common.admin_port), ("127.0.0.1", 5000, None));
    assert_eq!(common.redis.to_string(), "redis://127.0.0.1:6379/0");
    assert_eq!(common.data_dir, Path::new("./synapse-data"));
    assert_eq!(common.log_format, LogFormat::Text);
    assert_eq!(common.log_filter, "info");
    assert_eq!(common.shutdown_grace, Duration::from_secs(10));
    assert_eq!(common.identity.trust, Trust::LoopbackOnly);
}

#[test]
fn an_empty_variable_counts_as_unset() {
    let common = read(&[("HOST", ""), ("PORT", ""), ("REDIS_URL", ""), ("JWT_SECRET", ""), ("RUST_LOG", "")]);
    let common = common.unwrap();
    assert_eq!((common.host.as_str(), common.port), ("127.0.0.1", 5000));
    assert_eq!(common.log_filter, "info");
}

#[test]
fn a_bad_value_names_the_variable_the_value_and_what_is_allowed() {
    for (name, value, allowed) in [
        ("PORT", "abc", "a whole number from 0 to 65535"),
        ("PORT", "65536", "a whole number from 0 to 65535"),
        ("PORT", "-1", "a whole number from 0 to 65535"),
        ("ADMIN_PORT", "tcp://10.0.0.1:80", "a whole number from 0 to 65535"),
        ("ADMIN_PORT", "5000", "another port than PORT"),
        ("MAX_CONNECTIONS", "0", "a whole number from 1 to 1000000"),
        ("HOST", "http://localhost", "without scheme and port"),
        ("HOST", "127.0.0.1:80", "without scheme and port"),
        ("LOG_FORMAT", "xml", "text, json"),
        ("RUST_LOG", "info,x=loud", "levels (off, error, warn, info, debug, trace)"),
        ("SHUTDOWN_GRACE", "soon", "a duration such as"),
        ("SHUTDOWN_GRACE", "-1s", "a duration such as"),
        ("SHUTDOWN_GRACE", "1e400", "a duration such as"),
        ("SHUTDOWN_GRACE", "10 parsecs", "a duration such as"),
        ("REDIS_PORT", "0", "tcp://host:port"),
        ("REDIS_PORT", "udp://1.2.3.4:5", "tcp://host:port"),
        ("REDIS_HOST", "redis:6379", "REDIS_PORT"),
        ("REDIS_HOST", "redis://r", "REDIS_URL"),
        ("REDIS_DB", "x", "a whole number from 0"),
        ("REDIS_TLS_CA_FILE", "/ca.pem", "rediss://"),
        ("CORS_ORIGINS", "app.example.com", "origins such as"),
        ("CORS_ORIGINS", "https://a.example/x", "origins such as"),
        ("CORS_ORIGINS", "https://*.example", "origins such as"),
        ("CORS_ORIGINS", "*,https://a.example", "origins such as"),
        ("AUTH", "on", "off"),
        ("AUTH", "none", "off"),
        ("JWKS_URL", "file:///etc/passwd", "http:// or https://"),
        ("JWKS_URL", "https://me:pw@a.example/jwks", "http:// or https://"),
        ("JWKS_URL", "keys.json", "http:// or https://"),
    ] {
        let message = refused(&[(name, value)]);
        assert!(message.starts_with(&format!("{name} is {value:?}; allowed: ")), "{message}");
        assert!(message.contains(allowed), "{message}");
    }
}

#[test]
fn durations_and_sizes_are_read_with_their_units() {
    for (text, milliseconds) in [
        ("10s", 10_000),
        ("500ms", 500),
        ("10", 10_000),
        ("1.5", 1_500),
        ("5m", 300_000),
        ("24h", 86_400_000),
        ("7d", 604_800_000),
        (" 2 s ", 2_000),
        ("0", 0),
    ] {
        assert_eq!(parse_duration(text), Some(Duration::from_millis(milliseconds)), "{text}");
    }
    for text in ["", "s", "1y", "1..5s", "-1", "+1", "inf", "nan", "1s2", "0x10"] {
        assert_eq!(parse_duration(text), None, "{text}");
    }
    for (text, bytes) in [("0", 0), ("65536", 65536), ("64KiB", 65536), ("1 MiB", 1 << 20), ("2GiB", 2 << 30)]
    {
        assert_eq!(parse_bytes(text), Some(bytes), "{text}");
    }
    for text in ["1MB", "1.5MiB", "-1", "MiB", "99999999999999999999", "99999999999GiB"] {
        assert_eq!(parse_bytes(text), None, "{text}");
    }
}

#[test]
fn redis_is_found_by_its_url_or_its_parts() {
    let tcp = |host: &str, port| Endpoint::Tcp { host: host.into(), port };
    let redis = |variables: &[(&str, &str)]| read(variables).unwrap().redis;
    for (variables, endpoint) in [
        (&[("REDIS_HOST", "r")][..], tcp("r", 6379)),
        (&[("REDIS_HOST", "r"), ("REDIS_PORT", "7")], tcp("r", 7)),
        (&[("REDIS_HOST", "[::1]"), ("REDIS_PORT", "7")], tcp("::1", 7)),
        (&[("REDIS_PORT", "tcp://10.0.0.9:6380")], tcp("10.0.0.9", 6380)),
        (&[("REDIS_PORT", "tcp://[fd00::1]:6380")], tcp("fd00::1", 6380)),
        (&[("REDIS_PORT", "tcp://10.0.0.9:6380"), ("REDIS_HOST", "r")], tcp("r", 6380)),
        (&[("REDIS_PORT", "tcp://10.0.0.9:6380"), ("REDIS_URL", "redis://u:1")], tcp("u", 1)),
        (&[("REDIS_URL", "redis+unix:///run/r.sock")], Endpoint::Unix("/run/r.sock".into())),
    ] {
        assert_eq!(redis(variables).endpoint, endpoint, "{variables:?}");
    }
    let parts = redis(&[("REDIS_USERNAME", "ann"), ("REDIS_PASSWORD", "pw"), ("REDIS_DB", "3")]);
    assert_eq!(
        (parts.username.as_deref(), parts.password, parts.database),
        (Some("ann"), Some(Secret::new("pw")), 3)
    );
    let filled = redis(&[("REDIS_URL", "redis://h"), ("REDIS_PASSWORD", "pw"), ("REDIS_DB", "2")]);
    assert_eq!((filled.password, filled.database), (Some(Secret::new("pw")), 2));
    let kept = redis(&[("REDIS_URL", "redis://:own@h/5"), ("REDIS_PASSWORD", "pw"), ("REDIS_DB", "2")]);
    assert_eq!((kept.password, kept.database), (Some(Secret::new("own")), 5));
}

#[test]
fn sentinel_and_cluster_are_not_supported_yet() {
    for url in ["redis-sentinel://a,b/m", "redis+sentinel://a/m", "redis+cluster://a", "redis-cluster://a:1"]
    {
        assert!(refused(&[("REDIS_URL", url)]).contains("not supported yet"), "{url}");
    }
}

#[test]
fn certificates_of_redis_are_checked_to_be_there_and_complete() {
    let file = file_with("pem");
    let path = file.path().to_str().unwrap();
    let url = ("REDIS_URL", "rediss://r");
    let tls = read(&[url, ("REDIS_TLS_CA_FILE", path)]).unwrap().redis.tls.unwrap();
    assert_eq!(tls.ca_file.as_deref(), Some(file.path()));
    let message = refused(&[url, ("REDIS_TLS_CA_FILE", "/nowhere/ca.pem")]);
    assert!(message.contains("REDIS_TLS_CA_FILE is \"/nowhere/ca.pem\""), "{message}");
    assert!(refused(&[url, ("REDIS_TLS_CERT_FILE", path)]).contains("REDIS_TLS_KEY_FILE"));
}

#[test]
fn a_secret_comes_from_its_variable_or_from_a_file_but_not_both() {
    let file = file_with("0123456789abcdef0123456789abcdef\r\n\n");
    let path = file.path().to_str().unwrap();
    let secret = Trust::Key(KeySource::Secret(Secret::new("0123456789abcdef0123456789abcdef")));
    assert_eq!(read(&[("JWT_SECRET_FILE", path)]).unwrap().identity.trust, secret);
    let message = refused(&[("JWT_SECRET_FILE", path), ("JWT_SECRET", "x")]);
    assert_eq!(message, "JWT_SECRET and JWT_SECRET_FILE are both set; set one of them");
    let message = refused(&[("REDIS_PASSWORD_FILE", "/nowhere/pw")]);
    assert!(
        message.starts_with("REDIS_PASSWORD_FILE is \"/nowhere/pw\", which can't be read: "),
        "{message}"
    );
    let empty = file_with("\n");
    assert!(refused(&[("JWT_SECRET_FILE", empty.path().to_str().unwrap())]).contains("not empty"));
}

#[test]
fn a_secret_is_never_printed() {
    let file = file_with("redis://ann:hunter2@h:1/0\n");
    let path = file.path().to_str().unwrap();
    let common =
        read(&[("JWT_SECRET", "hunter2"), ("REDIS_URL_FILE", path), ("REDIS_PASSWORD", "hunter2")]).unwrap();
    let environment = Environment::from_map([("JWT_SECRET", "hunter2")]);
    assert!(!format!("{common:?} {environment:?}").contains("hunter2"));
    let pin =
        Variable { name: "PIN", kind: Kind::Secret, default: None, meaning: "a secret of another form" };
    let environment = Environment::from_map([("PIN", "hunter2")]);
    let message = environment.number(&pin, 0..=9999_u16).unwrap_err().to_string();
    assert_eq!(message, "PIN is \"***\"; allowed: a whole number from 0 to 9999");
    for url in [
        "redis://ann:hunter2@h:x",
        "http://ann:hunter2@h",
        "redis://ann:0/hunter2@h",
        "hunter2",
        "redis://ann:hunter2@h/x",
    ] {
        let message = refused(&[("REDIS_URL", url)]);
        assert!(message.starts_with("REDIS_URL is \"***\"") && !message.contains("hunter2"), "{message}");
    }
}

#[test]
fn without_a_key_only_a_loopback_host_is_served() {
    for host in ["127.0.0.1", "127.9.9.9", "localhost", "LOCALHOST", "::1", "[::1]", "::ffff:127.0.0.1"] {
        assert_eq!(read(&[("HOST", host)]).unwrap().identity.trust, Trust::LoopbackOnly, "{host}");
    }
    for host in ["0.0.0.0", "::", "10.0.0.1", "example.com", "localhost.example.com", "127.0.0.1.nip.io", "0"]
    {
        let message = refused(&[("HOST", host)]);
        assert!(
            message.contains(host) && message.contains("AUTH=off") && message.contains("JWT_SECRET"),
            "{message}"
        );
        assert_eq!(read(&[("HOST", host), ("AUTH", "off")]).unwrap().identity.trust, Trust::Off);
        let trust = read(&[("HOST", host), ("JWT_SECRET", "s")]).unwrap().identity.trust;
        assert_eq!(trust, Trust::Key(KeySource::Secret(Secret::new("s"))));
    }
}

#[test]
fn two_keys_at_once_are_an_error_that_names_both() {
    let keys =
        [("JWT_SECRET", "s"), ("JWT_PUBLIC_KEY", "k"), ("JWKS_FILE", "/f"), ("JWKS_URL", "https://h/k")];
    for (index, first) in keys.iter().enumerate() {
        for second in &keys[index + 1..] {
            let message = refused(&[*first, *second]);
            assert!(message.contains(&format!("{} and {} are both set", first.0, second.0)), "{message}");
        }
        assert!(refused(&[*first, ("AUTH", "off")]).contains("AUTH is off, but there is a key"));
    }
}

#[test]
fn what_only_a_key_makes_good_is_refused_without_one() {
    for variable in [
        ("JWT_ISSUER", "me"),
        ("JWT_AUDIENCE", "us"),
        ("ANONYMOUS", "deny"),
        ("TRUSTED_PROXIES", "10.0.0.0/8"),
    ] {
        let message = refused(&[variable]);
        assert!(message.starts_with(variable.0) && message.contains("no key"), "{message}");
        assert!(read(&[variable, ("JWT_SECRET", "s")]).is_ok(), "{variable:?}");
    }
    assert!(refused(&[("CORS_ORIGINS", "https://app.example.com")]).contains("there is no key"));
    assert!(refused(&[("CORS_ORIGINS", "*")]).contains("there is no key"));
    assert!(read(&[("CORS_ORIGINS", "http://localhost:3000,http://127.0.0.1")]).is_ok());
    assert!(read(&[("CORS_ORIGINS", "*"), ("AUTH", "off")]).is_ok());
}

#[test]
fn files_are_kept_in_the_users_data_directory() {
    let directory = |variables: &[(&str, &str)]| read(variables).unwrap().data_dir;
    assert_eq!(directory(&[("DATA_DIR", "/d"), ("HOME", "/home/ann")]), Path::new("/d"));
    assert_eq!(directory(&[("HOME", "/home/ann")]), Path::new("/home/ann/.local/share/synapse"));
    assert_eq!(directory(&[("XDG_DATA_HOME", "/x"), ("HOME", "/home/ann")]), Path::new("/x/synapse"));
    assert_eq!(directory(&[("XDG_DATA_HOME", "relative")]), Path::new("./synapse-data"));
}

fn command(environment: &[(&str, &str)], arguments: &[&str]) -> Result<Command, SettingError> {
    let environment = Environment::from_map(environment.iter().copied());
    Command::parse(&ABOUT, environment, arguments.iter().map(|&argument| argument.to_owned()))
}

fn run_with(environment: &[(&str, &str)], arguments: &[&str]) -> Environment {
    match command(environment, arguments).unwrap() {
        Command::Run(environment) => environment,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_command_is_one_of_those_listed() {
    const MIGRATE: Action = Action { name: "migrate", meaning: "does nothing but migrate", flags: STEPS };
    let about = About { commands: &[MIGRATE], ..ABOUT };
    let parse = |arguments: &[&str]| {
        Command::parse(&about, Environment::default(), arguments.iter().map(|&argument| argument.to_owned()))
    };
    match parse(&["migrate", "--port", "2"]).unwrap() {
        Command::Do(action, environment, _) => {
            assert_eq!((*action, environment.number(&PORT, 0..=9_u16).unwrap()), (MIGRATE, 2));
        }
        other => panic!("{other:?}"),
    }
    match parse(&["migrate", "--from=3", "--port", "2"]).unwrap() {
        Command::Do(_, environment, flags) => {
            assert_eq!((flags.get("FROM"), environment.get("FROM")), (Some("3"), None));
        }
        other => panic!("{other:?}"),
    }
    assert!(
        parse(&["--from", "3", "migrate"]).unwrap_err().to_string().contains("--from"),
        "a flag of migrate alone"
    );
    assert!(
        help(&about).contains("Of migrate, flags only:\n  --from NUMBER [default: 1]"),
        "{}",
        help(&about)
    );
    assert!(matches!(parse(&["--port", "2"]).unwrap(), Command::Run(_)));
    assert!(parse(&["imigrate"]).unwrap_err().to_string().contains("imigrate"));
    assert!(help(&about).contains("migrate [--NAME VALUE]…    does nothing but migrate"));
}

#[test]
fn a_flag_wins_over_its_variable() {
    let environment = run_with(&[("PORT", "1"), ("HOST", "h")], &["--port", "2", "--outbox-bytes=2MiB"]);
    assert_eq!(environment.number(&PORT, 0..=9_u16).unwrap(), 2);
    assert_eq!(environment.bytes(&OUTBOX_BYTES, 0..=usize::MAX).unwrap(), 2 << 20);
    assert_eq!(environment.get("HOST"), Some("h"));
    let unset = run_with(&[("HOST", "10.0.0.1")], &["--host="]);
    assert_eq!(Common::read(&unset, 1).unwrap().host, "127.0.0.1");
}

#[test]
fn a_secrets_flag_replaces_both_of_its_variables() {
    let file = file_with("from file");
    let path = file.path().to_str().unwrap();
    let by_file = run_with(&[("JWT_SECRET", "inline")], &["--jwt-secret-file", path]);
    assert_eq!(by_file.secret(&crate::identity::JWT_SECRET).unwrap(), Some(Secret::new("from file")));
    let inline = run_with(&[("JWT_SECRET_FILE", path)], &["--jwt-secret", "inline"]);
    assert_eq!(inline.secret(&crate::identity::JWT_SECRET).unwrap(), Some(Secret::new("inline")));
}

#[test]
fn an_argument_nobody_knows_is_refused() {
    for (arguments, message) in [
        (&["--prot", "1"][..], "unknown argument \"--prot\"; --help lists them all"),
        (&["start"], "unknown argument \"start\"; --help lists them all"),
        (&["--port-file", "x"], "unknown argument \"--port-file\"; --help lists them all"),
        (&["--port"], "--port needs a value, as in --port=VALUE"),
    ] {
        assert_eq!(command(&[], arguments).unwrap_err().to_string(), message);
    }
}

#[test]
fn help_lists_every_variable_with_default_and_meaning() {
    let Ok(Command::Print(text)) = command(&[("PORT", "bad")], &["--help"]) else { panic!("no help") };
    assert!(text.contains("--port NUMBER (PORT) [default: 5000]"));
    assert!(text.contains("--patience DURATION (PATIENCE)\n      How long to wait.\n"));
    assert!(text.contains("--jwt-secret SECRET (JWT_SECRET) [or JWT_SECRET_FILE]"));
    for variable in EXAMPLE.iter().chain(COMMON).chain(REDIS).chain(IDENTITY) {
        assert!(text.contains(&format!("({})", variable.name)), "{}", variable.name);
        assert!(variable.meaning.trim().len() > 10, "{}", variable.name);
    }
    let Ok(Command::Print(version)) = command(&[], &["-V"]) else { panic!("no version") };
    assert_eq!(version, "synapse-example 1.2.3\n");
}

#[cfg(unix)]
#[test]
fn a_value_that_is_not_utf8_is_refused_only_where_it_is_read() {
    use std::{ffi::OsString, os::unix::ffi::OsStringExt as _};
    let broken = || OsString::from_vec(vec![0xff]);
    let other = Environment::from_os([("OTHER".into(), broken())]);
    assert!(Common::read(&other, 1).is_ok());
    let ours = Environment::from_os([("DATA_DIR".into(), broken())]);
    assert_eq!(Common::read(&ours, 1).unwrap_err().to_string(), "DATA_DIR is not valid UTF-8");
    let secret = Environment::from_os([("JWT_SECRET_FILE".into(), broken())]);
    assert_eq!(Common::read(&secret, 1).unwrap_err().to_string(), "JWT_SECRET_FILE is not valid UTF-8");
}

#[test]
fn the_documentation_lists_the_variables_as_they_are() {
    for variables in [COMMON, REDIS, IDENTITY] {
        assert_documented(variables);
    }
}

#[test]
fn a_change_of_a_variable_must_be_documented() {
    assert!(std::panic::catch_unwind(|| assert_documented(EXAMPLE)).is_err());
}
