use super::*;

fn parsed(text: &str) -> RedisSettings {
    RedisSettings::from_url(text).unwrap()
}

#[test]
fn a_full_network_url_is_read() {
    let settings = parsed("redis://ann:p%40ss@redis.internal:6380/3");
    assert_eq!(settings.endpoint, Endpoint::Tcp { host: "redis.internal".into(), port: 6380 });
    assert_eq!(settings.username.as_deref(), Some("ann"));
    assert_eq!(settings.password, Some(Secret::new("p@ss")));
    assert_eq!(settings.database, 3);
    assert_eq!(settings.tls, None);
}

#[test]
fn defaults_fill_what_a_url_leaves_out() {
    assert_eq!(parsed("redis://localhost").endpoint.to_string(), "localhost:6379");
    assert_eq!(parsed("redis://:secret@localhost").username, None);
    assert_eq!(parsed("redis://[::1]:7000").endpoint.to_string(), "[::1]:7000");
}

#[test]
fn certificates_are_parameters_of_an_encrypted_url() {
    let tls = parsed("rediss://r:1?ca=/ca.pem&cert=/c.pem&key=/k.pem").tls.unwrap();
    assert_eq!(tls.ca_file, Some("/ca.pem".into()));
    assert_eq!(tls.certificate_file, Some("/c.pem".into()));
    assert_eq!(tls.key_file, Some("/k.pem".into()));
    assert!(RedisSettings::from_url("redis://r:1?ca=/ca.pem").is_err());
}

#[test]
fn a_unix_socket_is_read() {
    let settings = parsed("redis+unix:///run/redis.sock?db=2&pass=x");
    assert_eq!(settings.endpoint, Endpoint::Unix("/run/redis.sock".into()));
    assert_eq!(settings.database, 2);
    assert_eq!(settings.password, Some(Secret::new("x")));
}

#[test]
fn what_is_wrong_is_named() {
    let message = |url| RedisSettings::from_url(url).unwrap_err().to_string();
    assert!(message("localhost:6379").contains("redis://"));
    assert!(message("http://localhost").contains("\"http\""));
    assert!(message("redis-sentinel://a,b/mymaster").contains("not supported yet"));
    assert!(message("redis+cluster://a").contains("not supported yet"));
    assert!(message("redis://localhost/zero").contains("\"zero\""));
    assert!(message("redis://localhost?x=1").contains("\"x\""));
}

#[test]
fn a_password_is_never_printed() {
    let settings = parsed("redis://ann:hunter2@h:1");
    assert!(!format!("{settings:?} {settings}").contains("hunter2"));
}
