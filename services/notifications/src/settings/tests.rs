use super::*;

/// A pair as the npm tool web-push prints it: of RFC 8292's key.
const PUBLIC: &str =
    "BA1Hxzyi1RUM1b5wjxsn7nGxAszw2u61m164i3MrAIxHF6YK5h4SDYic-dRuU_RCPCfA5aq9ojSwk5Y2EmClBPs";

fn read(variables: &[(&str, &str)]) -> Result<Settings, SettingError> {
    Settings::read(&Environment::from_map(variables.iter().copied()))
}

#[test]
fn the_defaults_are_those_of_the_documentation() {
    let settings = read(&[]).unwrap();
    assert_eq!(settings.max_age, Duration::from_mins(5));
    assert_eq!(settings.retention, Duration::from_hours(24 * 30));
    assert!(settings.vapid.is_none() && !settings.push.allow_private);
    assert_eq!(settings.contact, "mailto:admin@localhost");
}

#[test]
fn every_variable_is_documented_as_it_is() {
    synapse_chassis::settings::assert_documented(VARIABLES);
}

#[test]
fn a_bad_value_is_named_with_what_is_allowed() {
    for (name, value) in [
        ("INBOX_RETENTION", "59m"),
        ("NOTIFY_CONCURRENCY", "0"),
        ("PUSH_ALLOW_PRIVATE", "maybe"),
        ("PUSH_TIMEOUT", "61s"),
        ("VAPID_EMAIL", "nobody"),
        ("VAPID_EMAIL", "a@b c"),
        ("VAPID_PUBLIC_KEY", "AAAA"),
        ("OUTBOX_BYTES", "1"),
    ] {
        let message = read(&[(name, value)]).expect_err("refused").to_string();
        assert!(message.contains(name) && message.contains(value), "{message}");
    }
}

#[test]
fn an_email_address_may_have_its_scheme_or_not() {
    for text in ["ops@example.com", "mailto:ops@example.com"] {
        assert_eq!(read(&[("VAPID_EMAIL", text)]).unwrap().contact, "mailto:ops@example.com");
    }
    assert_eq!(read(&[("VAPID_EMAIL", "https://example.com")]).unwrap().contact, "https://example.com/");
}

#[test]
fn keys_come_as_a_pair_that_belongs_together() {
    let (one, other) = (VapidKey::generate(), VapidKey::generate());
    let pair = |public: &VapidKey, private: &VapidKey| {
        let (public, private) = (public.public(), private.encode());
        read(&[("VAPID_PUBLIC_KEY", public.as_str()), ("VAPID_PRIVATE_KEY", private.as_str())])
    };
    assert_eq!(pair(&one, &one).unwrap().vapid.unwrap().public(), one.public());
    assert!(pair(&one, &other).expect_err("refused").to_string().contains("does not belong"));
    assert!(read(&[("VAPID_PUBLIC_KEY", PUBLIC)]).expect_err("refused").to_string().contains("set both"));
    let secret = read(&[("VAPID_PRIVATE_KEY", "AAAA")]).expect_err("refused").to_string();
    assert!(secret.contains("***") && !secret.contains("AAAA"), "{secret}");
}
