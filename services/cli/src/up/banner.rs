//! What is printed when all are ready: where things are, and what to try.

use super::{plan::PlannedService, private_redis::PrivateRedis};
use crate::terminal::{Style, painted};

/// An event that a newcomer can publish as it stands.
const SAMPLE: &str = r#"{"event":"inference-complete","model_name":"demo","version":"1","latency_ms":45.2}"#;

/// The addresses, gathered as things are started.
#[derive(Debug, Default)]
pub(crate) struct Banner {
    rows: Vec<[String; 3]>,
    waiting: Vec<&'static str>,
    gateway: Option<String>,
    /// How `redis-cli` is called, where we know.
    redis_cli: Option<String>,
    /// What our own commands need to be told.
    redis_flag: String,
}

impl Banner {
    /// A banner for the Redis that was given, if one was.
    pub(crate) fn new(redis_url: Option<String>) -> Self {
        let mut banner = Self::default();
        if let Some(url) = redis_url {
            banner.rows.push(["redis".to_owned(), url, "as given".to_owned()]);
        }
        banner
    }

    /// Adds the server of our own.
    pub(crate) fn private_redis(&mut self, redis: &PrivateRedis) {
        let data = format!("data in {}", redis.directory.display());
        self.rows.push(["redis".to_owned(), redis.url(), data]);
        self.redis_cli = Some(format!("redis-cli -p {}", redis.port));
        if redis.settings() != synapse_rs::RedisSettings::default() {
            self.redis_flag = format!(" --redis-url {}", redis.url());
        }
    }

    /// Adds a service.
    pub(crate) fn add(&mut self, planned: &PlannedService) {
        let url = format!("http://{}", planned.address());
        if planned.service.name == "gateway" {
            self.gateway = Some(format!("http://{}", planned.probe_address()));
        }
        self.rows.push([planned.service.name.to_owned(), url, planned.service.offers.to_owned()]);
        self.waiting.push(planned.service.name);
    }

    /// Whether this was the last one to become ready.
    pub(crate) fn is_complete_with(&mut self, name: &str) -> bool {
        let before = self.waiting.len();
        self.waiting.retain(|waiting| *waiting != name);
        before > 0 && self.waiting.is_empty()
    }

    /// The text.
    pub(crate) fn render(&self, colors: bool) -> String {
        let width = |column: usize| self.rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
        let (names, urls) = (width(0), width(1));
        let mut lines = vec![String::new()];
        for [name, url, about] in &self.rows {
            let name = painted(Style::of_name(name), &format!("{name:names$}"), colors);
            let url = painted(Style::Bold, &format!("{url:urls$}"), colors);
            lines.push(format!("  {name}  {url}  {about}"));
        }
        lines.push(String::new());
        lines.push("  Try, in another terminal:".to_owned());
        lines.extend(self.things_to_try().into_iter().map(|line| format!("    {line}")));
        lines.push(String::new());
        lines.push(format!("  {}", painted(Style::Dim, "Ctrl-C stops everything.", colors)));
        lines.push(String::new());
        lines.join("\n")
    }

    fn things_to_try(&self) -> Vec<String> {
        let flag = &self.redis_flag;
        let mut lines = vec![
            format!("synapse{flag} tail inference-events"),
            format!("synapse{flag} publish inference-events '{SAMPLE}'"),
        ];
        lines.extend(
            self.redis_cli.as_ref().map(|cli| format!("{cli} XREVRANGE inference-events + - COUNT 1")),
        );
        lines.extend(self.gateway.as_ref().map(|url| format!("curl {url}/metrics")));
        lines
    }
}
