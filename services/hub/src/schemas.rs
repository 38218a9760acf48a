//! `GET /schemas`: the known events as JSON Schema, from the same table that encodes and decodes them.

use axum::Json;
use http::Uri;
use serde::Serialize;
use serde_json::{Map, Value, json};
use synapse_chassis::{error::ApiError, request::Query};
use synapse_rs::event::schema::{self, EventSchema, FieldSchema, Kind};
use utoipa::ToSchema;

/// The known events.
#[derive(Debug, Serialize, ToSchema)]
pub struct Schemas {
    /// One for each event of each stream; the first that fits an event counts.
    pub schemas: Vec<Entry>,
}

/// A known event.
#[derive(Debug, Serialize, ToSchema)]
pub struct Entry {
    /// The stream; `null` for any other.
    pub stream: Option<&'static str>,
    /// The event; `null` for any other on the stream.
    pub event: Option<&'static str>,
    /// What an event to publish must be: JSON Schema, draft 2020-12.
    #[schema(value_type = Object)]
    pub schema: Value,
}

/// The known events and their fields, as JSON Schema.
#[utoipa::path(
    get, path = "/schemas", operation_id = "list_schemas", tag = "events",
    responses((status = 200, description = "the schemas", body = Schemas)),
)]
pub async fn schemas(uri: Uri) -> Result<Json<Schemas>, ApiError> {
    Query::read(uri.query(), &[])?;
    let entry = |schema: &EventSchema| Entry {
        stream: schema.stream,
        event: schema.event,
        schema: json_schema(schema),
    };
    Ok(Json(Schemas { schemas: schema::ALL.iter().map(entry).collect() }))
}

/// Unknown fields may be anything; `null` stands for a field that is not there.
fn json_schema(event: &EventSchema) -> Value {
    let mut properties = Map::new();
    let mut required = vec!["event"];
    for field in event.fields {
        let mut property = match (field.name, event.event) {
            ("event", Some(name)) => json!({"const": name}),
            _ => field_schema(field),
        };
        property["description"] = Value::from(field.about);
        if field.required && field.name != "event" {
            required.push(field.name);
        }
        if let Some(older) = field.older {
            let description = format!("older name of {}", field.name);
            properties.insert(older.to_owned(), json!({"deprecated": true, "description": description}));
        }
        if let Some(default) = field.default {
            property["default"] = Value::from(default);
        }
        properties.insert(field.name.to_owned(), property);
    }
    let title = match (event.stream, event.event) {
        (Some(stream), Some(event)) => format!("{event} on {stream}"),
        (Some(stream), None) => format!("any other event on {stream}"),
        _ => "an event on any other stream".to_owned(),
    };
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": title,
        "description": event.about,
        "type": "object",
        "required": required,
        "properties": properties,
    })
}

fn field_schema(field: &FieldSchema) -> Value {
    let name = match field.kind {
        Kind::String | Kind::Timestamp => "string",
        Kind::U64 => "integer",
        Kind::F64 => "number",
        Kind::Bool => "boolean",
        Kind::Object => "object",
    };
    let mut schema = if field.required { json!({"type": name}) } else { json!({"type": [name, "null"]}) };
    match field.kind {
        Kind::U64 => {
            schema["minimum"] = Value::from(0);
            schema["maximum"] = Value::from(u64::MAX);
        }
        Kind::Timestamp => schema["format"] = Value::from("date-time"),
        _ if field.name == "event" => schema["minLength"] = Value::from(1),
        _ => {}
    }
    schema
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_of_an_inference_has_its_fields_and_what_it_needs() {
        let found = schema::of("inference-events", "inference-failed");
        let schema = json_schema(found);
        assert_eq!(schema["required"], json!(["event", "model_name", "version", "latency_ms"]));
        assert_eq!(schema["properties"]["event"]["const"], "inference-failed");
        assert_eq!(schema["properties"]["version"]["type"], "string");
        assert_eq!(schema["properties"]["tokens_used"]["type"], json!(["integer", "null"]));
        assert_eq!(schema["properties"]["success"]["default"], false);
    }

    #[test]
    fn older_names_are_told_as_such() {
        let schema = json_schema(schema::of("model-events", "model-ready"));
        assert_eq!(schema["properties"]["checkpoint_path"]["deprecated"], true);
    }
}
