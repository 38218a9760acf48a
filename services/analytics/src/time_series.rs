//! Figures of users, as the service before this one took and gave them.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use axum::{
    Json,
    extract::{Path, Request, State, rejection::PathRejection},
};
use http::{HeaderMap, StatusCode, Uri};
use serde::Serialize;
use serde_json::{Map, Value};
use synapse_chassis::{
    error::ApiError,
    request::{Query, cut, parse_object},
};
use utoipa::{
    ToSchema,
    openapi::schema::{Object, ObjectBuilder, SchemaType, Type},
};

use crate::{
    Analytics, READ, RECORD,
    line::{INFERENCE, TRAINING, USER},
    record::RecordError,
    request::{MAX_NAME, check_name, check_step, duration, shown},
    sample::{Metric, PointTime},
    store::{MetricPoint, Store as _, Window},
};

/// The largest figure; sums of such stay finite.
const MAX_VALUE: f64 = 1e300;
/// How many tags a figure may have.
const MAX_TAGS: usize = 32;
/// The step of the means if none is asked for.
const STEP: Duration = Duration::from_hours(1);

/// A figure to record.
#[derive(ToSchema)]
#[expect(dead_code, reason = "the form of a body, for its description")]
#[schema(rename_all = "camelCase")]
struct NewFigure {
    /// Whose it is.
    #[schema(schema_with = text_of_any)]
    user_id: (),
    /// What it is of.
    #[schema(schema_with = text_of_any)]
    metric: (),
    /// The figure.
    #[schema(schema_with = number_of_any)]
    value: (),
    /// What tells series apart beside the user: texts by name, 32 at most.
    #[schema(value_type = Option<std::collections::HashMap<String, String>>)]
    tags: (),
}

/// A text; a number or a boolean is taken for its text, as of old.
fn text_of_any() -> Object {
    let types = SchemaType::from_iter([Type::String, Type::Number, Type::Boolean]);
    ObjectBuilder::new().schema_type(types).min_length(Some(1)).max_length(Some(MAX_NAME)).build()
}

/// A number, or the text of one.
fn number_of_any() -> Object {
    ObjectBuilder::new().schema_type(SchemaType::from_iter([Type::Number, Type::String])).build()
}

/// It is stored.
#[derive(Debug, Serialize, ToSchema)]
pub struct Recorded {
    /// Always true.
    pub success: bool,
}

/// The mean of a user's figures in a step.
#[derive(Debug, Serialize, ToSchema)]
pub struct Mean {
    /// Where the step ends, or the stretch that was asked about, RFC 3339.
    pub time: String,
    /// The mean.
    pub value: f64,
    /// Always `value`.
    pub field: &'static str,
    /// The tags that these figures have, if any: each set of tags has rows of its own.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(required = false)]
    pub tags: BTreeMap<String, String>,
}

impl From<MetricPoint> for Mean {
    fn from(point: MetricPoint) -> Self {
        let tags = point.tags.into_iter().collect();
        Self { time: shown(point.time), value: point.value, field: "value", tags }
    }
}

/// Records a figure of a user, now.
#[utoipa::path(
    post, path = "/time-series/record", operation_id = "record_figure", tag = "time series",
    request_body(content = NewFigure, content_type = "application/json"),
    responses((status = 200, description = "the store has it", body = Recorded)),
)]
pub(crate) async fn record(
    State(analytics): State<Arc<Analytics>>,
    uri: Uri,
    request: Request,
) -> Result<Json<Recorded>, ApiError> {
    Query::read(uri.query(), &[])?;
    let identity = analytics.authenticator.require(request.headers()).await?;
    let body = analytics.bodies.json(request).await?;
    let metric = figure(&parse_object(&body.bytes)?, analytics.recorder.now())?;
    identity.must_be(&metric.user_id, RECORD)?;
    match analytics.recorder.record(metric).await {
        Ok(()) => Ok(Json(Recorded { success: true })),
        Err(RecordError::Store(error)) => Err(error.into()),
        Err(RecordError::Refused(words)) => Err(ApiError::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "store_refused",
            format!("the store refuses it: {words}"),
        )),
    }
}

/// A user's figures: their mean in each hour, or whatever step.
#[utoipa::path(
    get, path = "/time-series/{userId}", operation_id = "list_figures", tag = "time series",
    params(
        ("userId" = String, Path, description = "whose", min_length = 1, max_length = 256),
        ("metric" = String, Query, description = "what they are of", min_length = 1, max_length = 256),
        ("startTime" = String, Query, description = "from when: RFC 3339, or a date"),
        ("endTime" = String, Query, description = "up to when, and without that"),
        ("step" = Option<String>, Query, description = "how long each step is; 1h if not given"),
    ),
    responses((status = 200, description = "by tags and time; steps without figures are left out", body = Vec<Mean>)),
)]
pub(crate) async fn list(
    State(analytics): State<Arc<Analytics>>,
    user: Result<Path<String>, PathRejection>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Json<Vec<Mean>>, ApiError> {
    let identity = analytics.authenticator.require(&headers).await?;
    let Path(user) = user.map_err(|error| ApiError::bad_field("userId", error.body_text()))?;
    check_name("userId", &user)?;
    identity.must_be(&user, READ)?;
    let query = Query::read(uri.query(), &["metric", "startTime", "endTime", "step"])?;
    let needed = |name: &'static str| {
        let given = query.one(name)?.filter(|text| !text.is_empty());
        given.ok_or_else(|| ApiError::bad_field(name, "is missing: give metric, startTime and endTime"))
    };
    let metric = needed("metric")?;
    check_name("metric", metric)?;
    let window =
        Window { from: time("startTime", needed("startTime")?)?, to: time("endTime", needed("endTime")?)? };
    if window.from >= window.to {
        return Err(ApiError::bad_field("endTime", "is not later than startTime"));
    }
    let step = query.one("step")?.map_or(Ok(STEP), |text| duration("step", text))?;
    let found = analytics.store.time_series(&user, metric, window, check_step(step, window)?).await?;
    if found.truncated {
        let message =
            "there are more rows than an answer has room for; ask for a longer step or a shorter time";
        return Err(ApiError::bad_request("too_many_rows", message));
    }
    Ok(Json(found.rows.into_iter().map(Mean::from).collect()))
}

/// Reads a figure; as of old, numbers are taken for texts and texts for numbers.
fn figure(body: &Map<String, Value>, time: PointTime) -> Result<Metric, ApiError> {
    if let Some(missing) =
        ["userId", "metric", "value"].iter().find(|field| body.get(**field).is_none_or(Value::is_null))
    {
        return Err(ApiError::bad_field(*missing, "is missing: userId, metric and value are required"));
    }
    let name = |field: &str| {
        let name = text_of(field, &body[field])?;
        check_name(field, &name).map(|()| name)
    };
    let metric = name("metric")?;
    if matches!(metric.as_str(), INFERENCE | TRAINING) {
        return Err(ApiError::bad_field("metric", "is what events are stored as; choose another name"));
    }
    let value = match &body["value"] {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    let value = value
        .filter(|number| number.is_finite())
        .ok_or_else(|| ApiError::bad_field("value", "is not a number"))?;
    if value.abs() > MAX_VALUE {
        return Err(ApiError::bad_field("value", format!("is {value:e}, expected {MAX_VALUE:e} at most")));
    }
    Ok(Metric { time, user_id: name("userId")?, metric, value, tags: tags(body.get("tags"))? })
}

fn tags(value: Option<&Value>) -> Result<Vec<(String, String)>, ApiError> {
    let given = match value {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Object(tags)) => tags,
        Some(_) => return Err(ApiError::bad_field("tags", "is not an object")),
    };
    if given.len() > MAX_TAGS {
        return Err(ApiError::bad_field(
            "tags",
            format!("has {} tags, expected {MAX_TAGS} at most", given.len()),
        ));
    }
    let mut tags = Vec::with_capacity(given.len());
    for (name, value) in given {
        let field = format!("tags.{}", cut(name));
        check_name(&field, name)?;
        if name == USER || name == "time" || name.starts_with('_') {
            return Err(ApiError::bad_field(
                field,
                "is a name that InfluxDB or this service uses itself; choose another",
            ));
        }
        let value = text_of(&field, value)?;
        if !value.is_empty() {
            check_name(&field, &value)?;
            tags.push((name.clone(), value));
        }
    }
    tags.sort_unstable();
    Ok(tags)
}

fn text_of(field: &str, value: &Value) -> Result<String, ApiError> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Number(_) | Value::Bool(_) => Ok(value.to_string()),
        _ => Err(ApiError::bad_field(field, "is not a text")),
    }
}

/// RFC 3339, or a date, or both without an offset: then it is UTC.
fn time(field: &str, text: &str) -> Result<PointTime, ApiError> {
    let utc = || if text.contains(['T', ' ']) { format!("{text}Z") } else { format!("{text}T00:00:00Z") };
    let time = text.parse::<jiff::Timestamp>().or_else(|_| utc().parse()).ok();
    let ns = time.and_then(|time| i64::try_from(time.as_nanosecond()).ok());
    ns.map(PointTime::from_ns).ok_or_else(|| {
        let reason = format!("is {:?}, expected a time such as 2026-11-25T10:00:00Z, or a date", cut(text));
        ApiError::bad_field(field, reason)
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(body: Value) -> Result<Metric, ApiError> {
        let Value::Object(body) = body else { panic!("an object") };
        figure(&body, PointTime::default())
    }

    #[test]
    fn a_figure_is_read_as_older_callers_write_it() {
        let metric = read(json!({
            "userId": 42, "metric": "focus", "value": "2.5", "tags": {"zone": 3, "app": "x", "empty": ""},
        }));
        let metric = metric.unwrap();
        assert_eq!((metric.user_id.as_str(), metric.value), ("42", 2.5));
        assert_eq!(metric.tags, [("app".to_owned(), "x".to_owned()), ("zone".to_owned(), "3".to_owned())]);
        assert!(
            read(json!({"userId": "u", "metric": "m", "value": 0, "tags": null})).unwrap().tags.is_empty()
        );
    }

    #[test]
    fn a_refusal_names_the_field() {
        let body = |field: &str, value: Value| {
            let mut body = json!({"userId": "u", "metric": "m", "value": 1.0});
            body[field] = value;
            body
        };
        let many: Map<_, _> = (0..33).map(|n| (n.to_string(), json!("x"))).collect();
        for (field, value, named) in [
            ("userId", json!(null), "userId"),
            ("userId", json!(""), "userId"),
            ("userId", json!(["u"]), "userId"),
            ("metric", json!("x".repeat(257)), "metric"),
            ("metric", json!("inference_metrics"), "metric"),
            ("value", json!("NaN"), "value"),
            ("value", json!(true), "value"),
            ("tags", json!([1]), "tags"),
            ("tags", Value::Object(many), "tags"),
            ("tags", json!({"userId": "other"}), "tags.userId"),
            ("tags", json!({"time": "1"}), "tags.time"),
            ("tags", json!({"a": null}), "tags.a"),
        ] {
            let error = read(body(field, value)).unwrap_err();
            assert_eq!(error.field.as_deref(), Some(named), "{error}");
        }
    }

    #[test]
    fn times_are_those_that_a_date_was_made_of() {
        let read = |text: &str| time("startTime", text).map(|time| time.ns() / 1_000_000_000).ok();
        assert_eq!(read("2026-11-25T10:00:00Z"), Some(1_795_600_800));
        assert_eq!(read("2026-11-25T12:00:00.000+02:00"), Some(1_795_600_800));
        assert_eq!(read("2026-11-25T10:00:00"), Some(1_795_600_800));
        assert_eq!(read("2026-11-25"), Some(1_795_564_800));
        assert_eq!(read("yesterday"), None);
        assert_eq!(read("9999-01-01"), None);
    }
}
