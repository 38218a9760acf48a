//! What is written in the line protocol, as the parser of InfluxDB's own makers reads it.

use influxdb_line_protocol::{FieldValue, ParsedLine, parse_lines};
use proptest::prelude::*;
use synapse_analytics::{
    line::{INFERENCE, Line, TRAINING, USER, Value, code::decode, encode, metric_of_field},
    sample::{Inference, MAX_COST, Metric, PointTime, Sample, Training},
};

/// Any text, rich in what the protocol has a meaning for.
fn text() -> impl Strategy<Value = String> {
    let special = prop::sample::select(vec![
        "\\", ",", " ", "=", "\"", "\n", "\r", "\t", "\0", "%", "%0A", "%5C", "#", "'", "\u{7f}", "\u{2028}",
    ]);
    prop_oneof![
        "[a-z0-9.:_-]{0,12}",
        prop::collection::vec(
            prop_oneof![special.prop_map(str::to_owned), any::<char>().prop_map(String::from)],
            0..12
        )
        .prop_map(|parts| parts.concat()),
    ]
}

fn some_text() -> impl Strategy<Value = String> {
    text().prop_filter("not empty", |text| !text.is_empty())
}

fn number() -> impl Strategy<Value = f64> {
    any::<f64>().prop_filter("finite", |number| number.is_finite())
}

fn integer() -> impl Strategy<Value = u64> {
    0..=i64::MAX.unsigned_abs()
}

fn time() -> impl Strategy<Value = PointTime> {
    (0..i64::MAX).prop_map(PointTime::from_ns)
}

prop_compose! {
    fn inference()(
        (time, model_name, version, user_id) in (time(), text(), text(), prop::option::of(some_text())),
        (latency_ms, tokens_used, confidence) in (number(), prop::option::of(integer()), prop::option::of(number())),
        (cost, success, event_time) in (prop::option::of(-MAX_COST..=MAX_COST), any::<bool>(), prop::option::of(time())),
    ) -> Inference {
        Inference { time, model_name, version, user_id, latency_ms, tokens_used, confidence, cost, success, event_time }
    }
}

prop_compose! {
    fn training()(
        (time, model_name, status) in (time(), text(), some_text()),
        experiment_id in prop::option::of(some_text()),
        (progress, step, event_time) in (prop::option::of(number()), prop::option::of(integer()), time()),
        metrics in prop::collection::btree_map(prop_oneof![text(), Just("step".to_owned()), Just("metric_step".to_owned())], number(), 0..6),
    ) -> Training {
        let (event_time, metrics) = (Some(event_time), metrics.into_iter().collect());
        Training { time, experiment_id, model_name, status, progress, step, event_time, metrics }
    }
}

prop_compose! {
    fn metric()(
        (time, user_id, metric, value) in (time(), some_text(), some_text(), number()),
        tags in prop::collection::btree_map(some_text().prop_filter("not ours", |name| name != USER), some_text(), 0..4),
    ) -> Metric {
        Metric { time, user_id, metric, value, tags: tags.into_iter().collect() }
    }
}

fn sample() -> impl Strategy<Value = Sample> {
    prop_oneof![
        inference().prop_map(Sample::Inference),
        training().prop_map(Sample::Training),
        metric().prop_map(Sample::Metric),
    ]
}

/// A point as it was read.
struct Point<'a>(ParsedLine<'a>);

impl Point<'_> {
    fn tags(&self) -> Vec<(String, String)> {
        let tags = self.0.series.tag_set.iter().flatten();
        tags.map(|(name, value)| (decode(name).into_owned(), decode(value).into_owned())).collect()
    }

    fn tag(&self, name: &str) -> Option<String> {
        self.tags().into_iter().find(|(own, _)| own == name).map(|(_, value)| value)
    }

    fn field(&self, name: &str) -> Option<&FieldValue<'_>> {
        self.0.field_set.iter().find(|(own, _)| own.as_str() == name).map(|(_, value)| value)
    }

    fn float(&self, name: &str) -> Option<f64> {
        self.field(name).map(|value| {
            if let FieldValue::F64(number) = value { *number } else { panic!("{name} is a float") }
        })
    }

    fn integer(&self, name: &str) -> Option<i64> {
        self.field(name).map(|value| {
            if let FieldValue::I64(number) = value { *number } else { panic!("{name} is an integer") }
        })
    }

    fn time(&self, name: &str) -> Option<PointTime> {
        self.integer(name).map(PointTime::from_ns)
    }

    /// The sample that was written.
    fn read(&self) -> Sample {
        let time = PointTime::from_ns(self.0.timestamp.expect("a time"));
        let unsigned = |name| self.integer(name).map(i64::cast_unsigned);
        match self.0.series.measurement.as_str() {
            INFERENCE => Sample::Inference(Inference {
                time,
                model_name: self.tag("model_name").unwrap_or_default(),
                version: self.tag("version").unwrap_or_default(),
                user_id: self.tag("user_id").filter(|user| user != "anonymous"),
                latency_ms: self.float("latency_ms").expect("a latency"),
                tokens_used: unsigned("tokens_used"),
                confidence: self.float("confidence"),
                cost: self.float("cost"),
                success: self.field("success") == Some(&FieldValue::Boolean(true)),
                event_time: self.time("event_time"),
            }),
            TRAINING => {
                let ours = ["progress", "step", "event_time"];
                let fields = self.0.field_set.iter().filter(|(name, _)| !ours.contains(&name.as_str()));
                let mut metrics: Vec<_> = fields
                    .map(|(name, value)| {
                        let FieldValue::F64(number) = value else { panic!("{name} is a float") };
                        (metric_of_field(&decode(name)).to_owned(), *number)
                    })
                    .collect();
                metrics.sort_by(|a, b| a.0.cmp(&b.0));
                Sample::Training(Training {
                    time,
                    experiment_id: self.tag("experiment_id"),
                    model_name: self.tag("model_name").unwrap_or_default(),
                    status: self.tag("status").unwrap_or_default(),
                    progress: self.float("progress"),
                    step: unsigned("step"),
                    event_time: self.time("event_time"),
                    metrics,
                })
            }
            metric => {
                let (users, mut tags): (Vec<_>, Vec<_>) =
                    self.tags().into_iter().partition(|(name, _)| name == USER);
                tags.sort();
                Sample::Metric(Metric {
                    time,
                    user_id: users.into_iter().next().expect("a user").1,
                    metric: decode(metric).into_owned(),
                    value: self.float("value").expect("a value"),
                    tags,
                })
            }
        }
    }
}

fn parsed(lines: &[u8]) -> Vec<ParsedLine<'_>> {
    let text = std::str::from_utf8(lines).expect("UTF-8");
    parse_lines(text).collect::<Result<_, _>>().unwrap_or_else(|error| panic!("{error}: {text:?}"))
}

proptest! {
    #[test]
    fn what_is_read_is_what_was_written(samples in prop::collection::vec(sample(), 1..5)) {
        let mut lines = Vec::new();
        for sample in &samples {
            encode(sample, true, &mut lines).unwrap();
        }
        let read: Vec<_> = parsed(&lines).into_iter().map(|line| Point(line).read()).collect();
        // A user called like those who have none can't be told from them.
        prop_assume!(!samples.iter().any(|sample| matches!(sample, Sample::Inference(it) if it.user_id.as_deref() == Some("anonymous"))));
        prop_assert_eq!(read, samples);
    }

    #[test]
    fn text_in_fields_is_any_text(text in any::<String>(), special in text()) {
        let text = text + &special;
        let mut lines = Vec::new();
        let mut line = Line::begin(&mut lines, "m");
        line.field("text", Value::Text(&text));
        prop_assert!(line.end(7));
        let lines = parsed(&lines);
        prop_assert_eq!(lines.len(), 1);
        let FieldValue::String(read) = &lines[0].field_set[0].1 else { panic!("a text") };
        prop_assert_eq!(read.as_str(), text);
    }

    #[test]
    fn a_number_is_as_short_as_it_can_be(number in number()) {
        let mut lines = Vec::new();
        let mut line = Line::begin(&mut lines, "m");
        line.field("f", Value::Float(number));
        line.end(7);
        let written = std::str::from_utf8(&lines).unwrap().trim_start_matches("m f=").trim_end_matches(" 7\n").to_owned();
        prop_assert_eq!(written.parse::<f64>().unwrap().to_bits(), number.to_bits());
        let digits = |text: &str| {
            let mantissa: String = text.split(['e', 'E']).next().unwrap().chars().filter(char::is_ascii_digit).collect();
            mantissa.trim_matches('0').len()
        };
        prop_assert_eq!(digits(&written), digits(&format!("{number:e}")));
    }
}
