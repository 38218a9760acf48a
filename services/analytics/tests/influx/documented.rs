//! InfluxDB 2 is not to be had everywhere: here are its answers as its documentation gives them.

use std::{
    io::Read as _,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode, Uri, header::RETRY_AFTER},
    response::{IntoResponse as _, Response},
};
use flate2::read::GzDecoder;
use serde_json::json;
use synapse_analytics::store::{Store as _, StoreError, Written};
use tokio::net::TcpListener;

use crate::support::{influx, of_models, refused, store_all, unavailable};

/// What it answers to these lines, the so-manieth write.
type Rule = Box<dyn Fn(&str, usize) -> Response + Send + Sync>;

/// A server that behaves by a rule.
struct Documented {
    url: String,
    seen: Arc<Seen>,
}

struct Seen {
    rule: Rule,
    writes: Mutex<Vec<(Uri, HeaderMap, String)>>,
    stored: Mutex<Vec<String>>,
    pings: AtomicUsize,
}

impl Documented {
    async fn start(rule: impl Fn(&str, usize) -> Response + Send + Sync + 'static) -> Self {
        let seen = Arc::new(Seen {
            rule: Box::new(rule),
            writes: Mutex::default(),
            stored: Mutex::default(),
            pings: AtomicUsize::new(0),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/prefix", listener.local_addr().unwrap());
        let router = Router::new().fallback(answer).with_state(seen.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, seen }
    }

    fn stored(&self) -> usize {
        let mut stored = self.seen.stored.lock().unwrap().clone();
        stored.retain(|line| line.starts_with("inference_metrics"));
        stored.sort();
        stored.dedup();
        stored.len()
    }

    fn writes(&self) -> usize {
        self.seen.writes.lock().unwrap().len()
    }
}

async fn answer(State(seen): State<Arc<Seen>>, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    if uri.path() == "/prefix/ping" {
        seen.pings.fetch_add(1, Ordering::Relaxed);
        return ([("X-Influxdb-Version", "v2.7.1"), ("X-Influxdb-Build", "OSS")], StatusCode::NO_CONTENT)
            .into_response();
    }
    let mut lines = String::new();
    GzDecoder::new(&*body).read_to_string(&mut lines).unwrap();
    let number = {
        let mut writes = seen.writes.lock().unwrap();
        writes.push((uri, headers, lines.clone()));
        writes.len()
    };
    let answer = (seen.rule)(&lines, number);
    if answer.status() == StatusCode::NO_CONTENT {
        seen.stored.lock().unwrap().extend(lines.lines().map(str::to_owned));
    }
    answer
}

fn stored() -> Response {
    StatusCode::NO_CONTENT.into_response()
}

fn error(status: u16, code: &str, message: &str) -> Response {
    let body = json!({ "code": code, "message": message }).to_string();
    (StatusCode::from_u16(status).unwrap(), [("content-type", "application/json; charset=utf-8")], body)
        .into_response()
}

fn names(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("model-{n}")).collect()
}

#[tokio::test]
async fn points_are_written_as_documented() {
    let server = Documented::start(|_, _| stored()).await;
    let influx = influx(
        &server.url,
        &[("INFLUXDB_TOKEN", "s3cret"), ("INFLUXDB_ORG", "o&o"), ("INFLUXDB_BUCKET", "b")],
    );
    store_all(&influx, &of_models(&names(3))).await;
    let writes = server.seen.writes.lock().unwrap();
    let (uri, headers, lines) = &writes[0];
    assert_eq!(uri.to_string(), "/prefix/api/v2/write?org=o%26o&bucket=b&precision=ns");
    assert_eq!(headers["authorization"], "Token s3cret");
    assert_eq!(headers["content-encoding"], "gzip");
    assert_eq!(lines.lines().count(), 3);
}

#[tokio::test]
async fn a_bad_point_is_refused_alone_with_the_servers_words() {
    for (status, code) in [(400, "invalid"), (422, "unprocessable entity")] {
        let server = Documented::start(move |lines, _| {
            let bad = lines.lines().position(|line| line.contains("model-7,"));
            match bad {
                Some(line) => error(status, code, &format!("line {line}: field type conflict")),
                None => stored(),
            }
        })
        .await;
        let influx = influx(&server.url, &[]);
        let written = influx.write(&of_models(&names(1_000))).await.unwrap();
        assert_eq!(refused(&written), (vec![7], "line 0: field type conflict".to_owned()));
        assert_eq!(server.stored(), 999);
        // Halved each time, and no more.
        assert!(server.writes() <= 21, "{} writes", server.writes());
    }
}

#[tokio::test]
async fn a_refusal_may_be_of_any_length_and_a_point_may_be_named_like_a_limit() {
    for words in [
        format!("unable to parse '{}': bad number", "x".repeat(9 << 20)),
        "partial write: field type conflict: input field \"v\" on measurement \"limit exceeded\" is type float dropped=1"
            .to_owned(),
    ] {
        let server = Documented::start(move |lines, _| {
            if lines.contains("model-2,") { error(400, "invalid", &words) } else { stored() }
        })
        .await;
        let (places, said) = refused(&influx(&server.url, &[]).write(&of_models(&names(4))).await.unwrap());
        assert_eq!((places, server.stored()), (vec![2], 3));
        assert!(said.len() < 1_000, "{} bytes", said.len());
    }
}

#[tokio::test]
async fn a_limit_of_the_server_is_for_its_operator_to_raise() {
    let words =
        "partial write: max-values-per-tag limit exceeded (100000/100000): measurement=\"m\" dropped=1";
    let server = Documented::start(move |_, _| error(400, "invalid", words)).await;
    let (reason, _) = unavailable(influx(&server.url, &[]).write(&of_models(&names(4))).await);
    assert!(reason.contains("INFLUXDB_USER_TAG"), "{reason}");
}

#[tokio::test]
async fn a_page_in_place_of_an_answer_stores_nothing() {
    let server =
        Documented::start(|_, _| (StatusCode::OK, "<html>Please log in</html>").into_response()).await;
    let (reason, _) = unavailable(influx(&server.url, &[]).write(&of_models(&names(4))).await);
    assert!(reason.contains("Please log in") && reason.contains("INFLUXDB_URL"), "{reason}");
}

#[tokio::test]
async fn which_server_it_is_is_asked_again_when_it_knows_no_such_address() {
    let server = Documented::start(|_, _| error(404, "not found", "404 page not found")).await;
    let influx = influx(&server.url, &[]);
    for asked in 1..=2 {
        unavailable(influx.write(&of_models(&names(1))).await);
        assert_eq!(server.seen.pings.load(Ordering::Relaxed), asked);
    }
}

#[tokio::test]
async fn what_is_too_large_goes_in_parts_and_one_too_large_alone_is_refused() {
    let server = Documented::start(|lines, _| {
        if lines.len() > 2_000 {
            return error(413, "request too large", "cannot read data: points batch is too large");
        }
        stored()
    })
    .await;
    let influx = influx(&server.url, &[]);
    let mut names = names(100);
    names[40] = "x".repeat(3_000);
    let (places, words) = refused(&influx.write(&of_models(&names)).await.unwrap());
    assert_eq!((places, server.stored()), (vec![40], 99));
    assert!(words.contains("too large"), "{words}");
}

#[tokio::test]
async fn a_busy_server_says_when_to_come_again() {
    for status in [429, 503] {
        let server = Documented::start(move |_, _| {
            let mut answer = error(status, "too many requests", "exceeded rate limit");
            answer.headers_mut().insert(RETRY_AFTER, "17".parse().unwrap());
            answer
        })
        .await;
        let (reason, after) = unavailable(influx(&server.url, &[]).write(&of_models(&names(10))).await);
        assert!(reason.contains("exceeded rate limit"), "{reason}");
        assert_eq!((after, server.writes()), (Some(Duration::from_secs(17)), 1));
    }
}

#[tokio::test]
async fn what_an_operator_has_to_mend_names_the_variable() {
    for (status, message, variable) in [
        (401, "unauthorized access", "INFLUXDB_TOKEN"),
        (403, "forbidden", "INFLUXDB_TOKEN"),
        (404, "bucket \"analytics\" not found", "INFLUXDB_BUCKET"),
        (404, "404 page not found", "INFLUXDB_BUCKET"),
        (405, "method not allowed", "INFLUXDB_URL"),
    ] {
        let server = Documented::start(move |_, _| error(status, "…", message)).await;
        let (reason, _) = unavailable(influx(&server.url, &[]).write(&of_models(&names(10))).await);
        assert!(reason.contains(variable) && reason.contains(message), "{reason}");
    }
}

#[tokio::test]
async fn a_server_that_breaks_on_everything_decides_nothing() {
    let server =
        Documented::start(|_, _| error(500, "internal error", "engine: cache maximum memory size exceeded"))
            .await;
    let influx = influx(&server.url, &[]);
    for _ in 0..2 {
        let (reason, _) = unavailable(influx.write(&of_models(&names(10))).await);
        assert!(reason.contains("cache maximum memory size"), "{reason}");
    }
    assert!(server.writes() <= 8, "{} writes", server.writes());
}

#[tokio::test]
async fn a_point_that_the_server_breaks_on_is_refused_while_its_neighbours_are_stored() {
    for has_neighbours in [true, false] {
        let server = Documented::start(|lines, _| {
            if lines.contains("model-3,") {
                return error(500, "internal error", "field type conflict: input field \"latency_ms\"");
            }
            stored()
        })
        .await;
        let influx = influx(&server.url, &[]);
        let names = if has_neighbours { names(10) } else { vec!["model-3".to_owned()] };
        let (places, words) = refused(&influx.write(&of_models(&names)).await.unwrap());
        assert_eq!(places, [if has_neighbours { 3 } else { 0 }]);
        assert!(words.contains("500") && words.contains("field type conflict"), "{words}");
        assert_eq!(server.stored(), names.len() - 1);
    }
}

#[tokio::test]
async fn a_server_that_refuses_the_probe_does_its_work_all_the_same() {
    let server = Documented::start(|lines, _| {
        if lines.contains("synapse_probe") {
            return error(422, "unprocessable entity", "points are outside of the retention period");
        }
        error(500, "internal error", "panic: runtime error")
    })
    .await;
    let (places, words) = refused(&influx(&server.url, &[]).write(&of_models(&names(1))).await.unwrap());
    assert_eq!(places, [0]);
    assert!(words.contains("panic"), "{words}");
}

#[tokio::test]
async fn a_good_point_is_not_refused_for_a_hiccup_of_the_server() {
    // Broken three times, and well by the time that it is asked for anything else.
    let server = Documented::start(|_, number| {
        if number <= 3 { error(500, "internal error", "engine: closed") } else { stored() }
    })
    .await;
    store_all(&influx(&server.url, &[]), &of_models(&["model"])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_much_at_once_for_the_time_goes_in_smaller_parts() {
    let server = Documented::start(|lines, _| {
        if lines.lines().count() > 10 {
            std::thread::sleep(Duration::from_millis(400));
        }
        stored()
    })
    .await;
    let influx = influx(&server.url, &[("INFLUXDB_TIMEOUT", "200ms"), ("INFLUXDB_BODY_BYTES", "16384")]);
    let mut samples = of_models(&names(100));
    let mut tries = 0;
    while !samples.is_empty() {
        tries += 1;
        assert!(tries < 20, "{} left", samples.len());
        if let Ok(written) = influx.write(&samples).await {
            samples =
                samples.split_off(written.iter().filter(|outcome| **outcome == Written::Stored).count());
        }
    }
    assert_eq!(server.stored(), 100);
}

#[tokio::test]
async fn what_was_stored_before_the_server_went_away_is_known_to_be() {
    let server =
        Documented::start(|_, number| if number == 1 { stored() } else { error(503, "", "away") }).await;
    let influx = influx(&server.url, &[("INFLUXDB_BODY_BYTES", "1024")]);
    let written = influx.write(&of_models(&names(30))).await.unwrap();
    let known = written.iter().filter(|outcome| **outcome == Written::Stored).count();
    assert_eq!(known, server.stored());
    assert!(known > 0 && known < 30, "{known}");
    assert!(
        matches!(&written[29], Written::Waiting(StoreError::Unavailable { reason, .. }) if reason.contains("away"))
    );
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_given_up_in_time() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let influx = influx(&url, &[("INFLUXDB_TIMEOUT", "200ms"), ("INFLUXDB_VERSION", "2")]);
    let (reason, _) = unavailable(influx.write(&of_models(&names(1))).await);
    assert!(reason.contains("INFLUXDB_TIMEOUT"), "{reason}");
    let question = influx.models(crate::support::seconds(0, 1)).await;
    assert_eq!(question, Err(StoreError::Slow(Duration::from_millis(200))));
}

#[tokio::test]
async fn a_number_no_integer_can_hold_is_refused_before_it_is_sent() {
    let server = Documented::start(|_, _| stored()).await;
    let mut samples = of_models(&names(3));
    if let synapse_analytics::sample::Sample::Inference(it) = &mut samples[1] {
        it.tokens_used = Some(u64::MAX);
    }
    let (places, words) = refused(&influx(&server.url, &[]).write(&samples).await.unwrap());
    assert_eq!((places, server.stored()), (vec![1], 2));
    assert!(words.contains("tokens_used"), "{words}");
}
