use super::*;
use crate::sample::{Inference, Metric, PointTime, Sample, Training};

fn line(sample: &Sample, has_user_tag: bool) -> String {
    let mut buffer = Vec::new();
    encode(sample, has_user_tag, &mut buffer).unwrap();
    String::from_utf8(buffer).unwrap()
}

fn inference() -> Inference {
    Inference {
        time: PointTime::from_ns(7),
        model_name: "gpt 4, large".to_owned(),
        version: "1.0".to_owned(),
        user_id: None,
        latency_ms: 45.0,
        tokens_used: Some(123),
        confidence: None,
        cost: Some(1e-7),
        success: true,
        event_time: Some(PointTime::from_ns(6)),
    }
}

#[test]
fn an_inference_is_a_point() {
    let sample = Sample::Inference(inference());
    assert_eq!(
        line(&sample, true),
        "inference_metrics,model_name=gpt\\ 4\\,\\ large,user_id=anonymous,version=1.0 \
         latency_ms=45.0,cost=1e-7,tokens_used=123i,success=true,event_time=6i 7\n"
    );
    assert!(!line(&sample, false).contains("user_id"));
}

#[test]
fn an_integer_too_large_is_refused_and_leaves_nothing() {
    let sample = Sample::Inference(Inference { tokens_used: Some(u64::MAX), ..inference() });
    let mut buffer = b"before\n".to_vec();
    let error = encode(&sample, true, &mut buffer).unwrap_err().to_string();
    assert!(error.starts_with("tokens_used is 18446744073709551615"), "{error}");
    assert_eq!(buffer, b"before\n");
}

#[test]
fn figures_of_training_never_stand_in_a_field_of_ours() {
    let metrics = ["loss", "step", "metric_step", "time", "_x", "", "NaN"];
    let sample = Sample::Training(Training {
        time: PointTime::from_ns(7),
        experiment_id: None,
        model_name: String::new(),
        status: "progress".to_owned(),
        progress: None,
        step: Some(3),
        event_time: None,
        metrics: metrics.map(|name| (name.to_owned(), if name == "NaN" { f64::NAN } else { 0.5 })).to_vec(),
    });
    assert_eq!(
        line(&sample, true),
        "training_metrics,status=progress step=3i,loss=0.5,metric_step=0.5,metric_metric_step=0.5,\
         metric_time=0.5,metric__x=0.5,metric_=0.5 7\n"
    );
    for name in metrics {
        assert_eq!(metric_of_field(&encode_metric_name(name)), name);
    }
}

#[test]
fn training_without_a_figure_has_its_time() {
    let sample = Sample::Training(Training {
        time: PointTime::from_ns(7),
        experiment_id: Some("e".to_owned()),
        model_name: "m".to_owned(),
        status: "started".to_owned(),
        progress: None,
        step: None,
        event_time: None,
        metrics: Vec::new(),
    });
    assert_eq!(
        line(&sample, true),
        "training_metrics,experiment_id=e,model_name=m,status=started event_time=7i 7\n"
    );
}

#[test]
fn tags_of_a_metric_are_in_order() {
    let tag = |name: &str| (name.to_owned(), "x".to_owned());
    let sample = Sample::Metric(Metric {
        time: PointTime::from_ns(7),
        user_id: "u".to_owned(),
        metric: "#a=b".to_owned(),
        value: 2.5,
        tags: vec![tag("a"), tag("zone")],
    });
    assert_eq!(line(&sample, true), "%23a=b,a=x,userId=u,zone=x value=2.5 7\n");
}

#[test]
fn a_line_without_a_field_is_none() {
    let mut buffer = b"before\n".to_vec();
    let mut nothing = Line::begin(&mut buffer, "m");
    nothing.field("f", Value::Float(f64::INFINITY));
    assert!(!nothing.end(1));
    assert_eq!(buffer, b"before\n");
}

#[test]
fn what_a_name_can_not_hold_is_coded() {
    let written = |text: &str| {
        let mut buffer = Vec::new();
        write(&mut buffer, text, Place::Name);
        String::from_utf8(buffer).unwrap()
    };
    for (text, line) in [
        (r"C:\models", r"C:\models"),
        (r"a\", r"a%5C"),
        (r"a\\b", r"a%5C\b"),
        (r"a\,b", r"a%5C\,b"),
        ("a\nb", "a%0Ab"),
        ("50% = half", r"50%\ \=\ half"),
        ("%0A", "%250A"),
        ("%%5C%2", "%%255C%2"),
    ] {
        assert_eq!(written(text), line);
        assert_eq!(code::decode(&code::stored(text, Place::Name)), text);
    }
}
