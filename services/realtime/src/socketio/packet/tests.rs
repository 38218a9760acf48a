use proptest::prelude::*;
use serde_json::json;

use super::*;

fn packet(kind: Kind, ack: Option<u64>, data: Value) -> Packet<'static> {
    Packet { kind, namespace: "/", attachments: 0, ack, data }
}

#[test]
fn the_packets_of_the_protocols_own_description_are_read() {
    let cases = [
        ("0", packet(Kind::Connect, None, Value::Null)),
        (r#"0{"token":"123"}"#, packet(Kind::Connect, None, json!({"token": "123"}))),
        ("0/admin,", Packet { namespace: "/admin", ..packet(Kind::Connect, None, Value::Null) }),
        ("0/admin", Packet { namespace: "/admin", ..packet(Kind::Connect, None, Value::Null) }),
        ("0/admin?x=1,{}", Packet { namespace: "/admin", ..packet(Kind::Connect, None, json!({})) }),
        ("1", packet(Kind::Disconnect, None, Value::Null)),
        (r#"2["foo"]"#, packet(Kind::Event, None, json!(["foo"]))),
        (r#"212["foo",1]"#, packet(Kind::Event, Some(12), json!(["foo", 1]))),
        (
            r#"2/admin,456["project:delete",123]"#,
            Packet { namespace: "/admin", ..packet(Kind::Event, Some(456), json!(["project:delete", 123])) },
        ),
        ("313[]", packet(Kind::Ack, Some(13), json!([]))),
        (
            r#"51-["hello",{"_placeholder":true,"num":0}]"#,
            Packet {
                attachments: 1,
                ..packet(Kind::BinaryEvent, None, json!(["hello", {"_placeholder": true, "num": 0}]))
            },
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(Packet::parse(text).as_ref(), Ok(&expected), "{text}");
    }
}

#[test]
fn what_no_client_should_send_is_refused() {
    let cases = [
        ("", InvalidPacket::UnknownKind),
        ("9", InvalidPacket::UnknownKind),
        ("2", InvalidPacket::Payload),
        ("2[]", InvalidPacket::Payload),
        ("2[1]", InvalidPacket::Payload),
        (r#"2{"a":1}"#, InvalidPacket::Payload),
        ("0[]", InvalidPacket::Payload),
        ("3[]", InvalidPacket::Payload),
        ("299999999999999999999[\"a\"]", InvalidPacket::AckNumber),
        ("5[\"a\"]", InvalidPacket::Attachments),
        ("517-[\"a\"]", InvalidPacket::Attachments),
    ];
    for (text, error) in cases {
        assert_eq!(Packet::parse(text), Err(error), "{text}");
    }
    assert!(matches!(Packet::parse("2[\"a\""), Err(InvalidPacket::Json(_))));
}

#[test]
fn what_the_server_says_is_written_as_clients_expect() {
    assert_eq!(connected("/", "x", None), r#"40{"sid":"x"}"#);
    assert_eq!(connected("/", "x", Some("y")), r#"40{"sid":"x","pid":"y"}"#);
    assert_eq!(refused("/admin", "Invalid namespace", None), r#"44/admin,{"message":"Invalid namespace"}"#);
    assert_eq!(
        refused("/", "no", Some("token_expired")),
        r#"44{"message":"no","data":{"code":"token_expired","message":"no"}}"#
    );
    assert_eq!(event("a\"b", &json!({"c": 1})), r#"42["a\"b",{"c":1}]"#);
    assert_eq!(ack(7, &json!({"ok": true})), r#"437[{"ok":true}]"#);
}

proptest! {
    #[test]
    fn our_own_events_are_read_back(name in "\\PC{1,20}", text in "\\PC{0,40}") {
        let written = event(&name, &json!({ "text": text }));
        let packet = Packet::parse(written.strip_prefix('4').unwrap()).unwrap();
        let arguments = [json!({ "text": text })];
        prop_assert_eq!(packet.event(), Some((name.as_str(), &arguments[..])));
    }

    #[test]
    fn any_text_is_read_without_panic(text in "\\PC{0,60}") {
        let _ = Packet::parse(&text);
    }
}
