//! Declarations of all events for TypeScript, from the table that encodes and decodes them.
//!
//! `make types` writes them to `services/gateway/types/events.d.ts`; a test fails while they are others there. Frames are
//! declared beside them, in `synapse.d.ts`.

use std::fmt::{self, Write as _};

use synapse_realtime::close::CloseReason;
use synapse_rs::event::schema::{self, EventSchema, FieldSchema, Kind};

use crate::{
    requests::names,
    streams::{Stream, StreamSet},
};

const HEAD: &str = "\
// The events of all streams. Written by `make types` from the schema of the events; a test keeps it so.

/** What every event has. Fields that are not described may be anything. */
export interface AnyEvent {
  /** its entry in the stream */
  id: string;
  /** the stream it came over */
  stream: StreamName;
  /** the same on every retry of the publication; `<stream>/<id>` where the publisher gave none */
  event_id: string;
";
/// Fields of every event that the gateway sets, and writes itself above.
const SET_HERE: [&str; 1] = ["event_id"];

/// The whole file.
pub fn declarations() -> String {
    let mut out = String::new();
    // Writing to a string does not fail.
    let _ = write(&mut out);
    out
}

fn write(out: &mut String) -> fmt::Result {
    out.push_str(HEAD);
    let common = schema::of("", "");
    for field in common.fields.iter().filter(|field| !SET_HERE.contains(&field.name)) {
        write_field(out, field)?;
    }
    out.push_str("  [field: string]: unknown;\n}\n");
    write_events(out, common)?;
    write_streams(out)?;
    let codes = CloseReason::ALL.map(|reason| reason.code().to_string());
    writeln!(out, "\n/** See docs/close-codes.md. */\nexport type CloseCode = {};", codes.join(" | "))?;
    let reasons = CloseReason::ALL.map(|reason| format!("{:?}", reason.name()));
    writeln!(
        out,
        "\n/** The name of a close code. */\nexport type CloseReason =\n  | {};",
        reasons.join("\n  | ")
    )?;
    Ok(())
}

fn known() -> impl Iterator<Item = &'static EventSchema> {
    schema::ALL.iter().filter(|schema| schema.stream.is_some())
}

/// Events of one stream that are described by the same fields.
struct Alike {
    stream: Option<&'static str>,
    fields: String,
    events: Vec<&'static EventSchema>,
}

fn write_events(out: &mut String, common: &EventSchema) -> fmt::Result {
    let mut groups: Vec<Alike> = Vec::new();
    for schema in known() {
        let mut fields = String::new();
        let is_own = |field: &&FieldSchema| common.fields.iter().all(|other| other.name != field.name);
        for field in schema.fields.iter().filter(is_own) {
            write_field(&mut fields, field)?;
        }
        match groups.iter_mut().find(|alike| alike.stream == schema.stream && alike.fields == fields) {
            Some(alike) => alike.events.push(schema),
            None => groups.push(Alike { stream: schema.stream, fields, events: vec![schema] }),
        }
    }
    groups.iter().try_for_each(|alike| write_alike(out, alike))
}

fn write_alike(out: &mut String, Alike { stream, fields, events }: &Alike) -> fmt::Result {
    let stream = stream.unwrap_or_default();
    let own = format!("  stream: {stream:?};\n{fields}");
    let shared = format!("{}Fields", pascal(stream));
    let (base, own) = if events.len() > 1 {
        writeln!(out, "\n/** What the following events of {stream} have in common. */")?;
        writeln!(out, "export interface {shared} extends AnyEvent {{\n{own}}}")?;
        (shared.as_str(), "")
    } else {
        ("AnyEvent", own.as_str())
    };
    for schema in events {
        writeln!(out, "\n/** {} */", schema.about)?;
        writeln!(out, "export interface {} extends {base} {{", interface(schema))?;
        if let Some(event) = schema.event {
            writeln!(out, "  event: {event:?};")?;
        }
        writeln!(out, "{own}}}")?;
    }
    Ok(())
}

fn write_field(out: &mut String, field: &FieldSchema) -> fmt::Result {
    // One with a default is always there.
    let optional = if field.required || field.default.is_some() { "" } else { "?" };
    let kind = match field.kind {
        Kind::String | Kind::Timestamp => "string",
        Kind::U64 | Kind::F64 => "number",
        Kind::Bool => "boolean",
        Kind::Object => "Record<string, unknown>",
    };
    writeln!(out, "  /** {} */\n  {}{optional}: {kind};", field.about, field.name)
}

fn write_streams(out: &mut String) -> fmt::Result {
    let (mut by_stream, mut by_event, mut handlers) = (String::new(), String::new(), String::new());
    for name in names(StreamSet::ALL) {
        let Some(event) = Stream::of_key(name).map(Stream::socketio_event) else { continue };
        let union = pascal(event);
        let members: Vec<_> = known().filter(|schema| schema.stream == Some(name)).map(interface).collect();
        // A stream of one event only is called as that event is.
        if members != [union.as_str()] {
            let members = members.join("\n  | ");
            writeln!(out, "\n/** An event of {name} that is described; there may be others. */")?;
            writeln!(out, "export type {union} =\n  | {members};")?;
        }
        writeln!(by_stream, "  {name:?}: {union};")?;
        writeln!(by_event, "  {event:?}: {union};")?;
        writeln!(handlers, "  {event:?}: (event: {union}) => void;")?;
    }
    writeln!(out, "\n/** The events of each stream. */\nexport interface Streams {{\n{by_stream}}}")?;
    writeln!(out, "\n/** A stream. */\nexport type StreamName = keyof Streams;")?;
    writeln!(out, "\n/** The same, by the name that events have on their way. */")?;
    writeln!(out, "export interface StreamEvents {{\n{by_event}}}")?;
    writeln!(out, "\n/** What takes them. */\nexport interface StreamEventHandlers {{\n{handlers}}}")
}

/// The name of an event's declaration: `model-ready` is a `ModelReadyEvent`.
fn interface(schema: &EventSchema) -> String {
    match (schema.event, schema.stream) {
        (Some(event), _) => format!("{}Event", pascal(event)),
        (None, stream) => format!("Other{}", pascal(stream.unwrap_or("event").trim_end_matches('s'))),
    }
}

fn pascal(name: &str) -> String {
    let parts = name.split(['-', '_']).map(|part| {
        let (first, rest) = part.split_at_checked(1).unwrap_or((part, ""));
        first.to_ascii_uppercase() + rest
    });
    parts.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_declarations_are_those_of_the_schema() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/types/events.d.ts");
        let written = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            written == declarations(),
            "services/gateway/types/events.d.ts is out of date: run `make types`"
        );
    }

    #[test]
    fn every_known_event_and_field_is_declared() {
        let declarations = declarations();
        for schema in known() {
            let begin = format!("export interface {} extends", interface(schema));
            assert_eq!(declarations.matches(&begin).count(), 1, "{begin}");
        }
        for line in [
            "  event: \"inference-failed\";",
            "  tokens_used?: number;",
            "  success: boolean;",
            "  metadata?: Record<string, unknown>;",
            "  \"agi-decision-event\": (event: AgiDecisionEvent) => void;",
            "  | OtherPlatformEvent;",
        ] {
            assert!(declarations.contains(&format!("{line}\n")), "{line} is missing");
        }
    }
}
