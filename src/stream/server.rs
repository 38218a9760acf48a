//! What the server says of itself.

use std::{collections::HashMap, str::FromStr};

use super::{Connection, StreamError, reply};

/// A server's state by field (`INFO`), for example `aof_enabled`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerInfo {
    fields: HashMap<String, String>,
}

impl ServerInfo {
    /// Reads the text of `INFO`: a `name:value` a line.
    pub fn parse(text: &str) -> Self {
        let pair =
            |line: &str| line.trim_end().split_once(':').map(|(name, value)| (name.into(), value.into()));
        Self { fields: text.lines().filter(|line| !line.starts_with('#')).filter_map(pair).collect() }
    }

    /// The field's text, if this server has the field.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.fields.get(name).map(String::as_str)
    }

    /// The field's number, if this server has the field and it is one.
    pub fn number<T: FromStr>(&self, name: &str) -> Option<T> {
        self.text(name)?.parse().ok()
    }

    /// Whether the field is there and says this.
    pub fn says(&self, name: &str, value: &str) -> bool {
        self.text(name) == Some(value)
    }
}

impl Connection {
    /// The server's clock, by which ids are made: milliseconds since 1970.
    pub async fn now_ms(&self) -> Result<u64, StreamError> {
        let answer = self.query(&redis::cmd("TIME"), "TIME").await?;
        let parts = reply::array(answer, "TIME")?;
        let number = |index: usize| reply::text(parts.get(index)?, "TIME").ok()?.parse::<u64>().ok();
        match (number(0), number(1)) {
            (Some(seconds), Some(micros)) => Ok(seconds * 1_000 + micros / 1_000),
            _ => Err(reply::unexpected("TIME", &redis::Value::Array(parts))),
        }
    }

    /// The process id of the server on its own machine, which tells one server from another.
    pub async fn server_process_id(&self) -> Result<u32, StreamError> {
        const WHAT: &str = "INFO server";
        let answer = self.query(redis::cmd("INFO").arg("server"), WHAT).await?;
        let id = ServerInfo::parse(&reply::text(&answer, WHAT)?).number("process_id");
        id.ok_or_else(|| reply::unexpected(WHAT, &answer))
    }

    /// What the server says of its state (`INFO`).
    pub async fn server_info(&self) -> Result<ServerInfo, StreamError> {
        let answer = self.query(&redis::cmd("INFO"), "INFO").await?;
        Ok(ServerInfo::parse(&reply::text(&answer, "INFO")?))
    }

    /// One setting of the server (`CONFIG GET`); `None` if it has no such setting.
    pub async fn server_setting(&self, name: &str) -> Result<Option<String>, StreamError> {
        let what = format!("CONFIG GET {name}");
        let answer = self.query(redis::cmd("CONFIG").arg("GET").arg(name), &what).await?;
        let value = reply::pairs(answer, &what)?.into_iter().next();
        value.map(|(_, value)| reply::text(&value, &what)).transpose()
    }

    /// Whether anyone who reaches the server may use it without a password (`ACL GETUSER default`).
    pub async fn is_without_password(&self) -> Result<bool, StreamError> {
        const WHAT: &str = "ACL GETUSER default";
        let answer = self.query(redis::cmd("ACL").arg("GETUSER").arg("default"), WHAT).await?;
        let flags = reply::pairs(answer, WHAT)?.into_iter().find(|(name, _)| name == "flags");
        let flags = flags.map_or_else(|| Ok(Vec::new()), |(_, flags)| reply::array(flags, WHAT))?;
        let flags: Vec<_> = flags.iter().filter_map(|flag| reply::text(flag, WHAT).ok()).collect();
        let has = |flag: &str| flags.iter().any(|found| found == flag);
        Ok(has("on") && has("nopass"))
    }

    /// Which of these commands the server has (`COMMAND INFO`), in the same order.
    pub async fn has_commands(&self, names: &[&str]) -> Result<Vec<bool>, StreamError> {
        let mut command = redis::cmd("COMMAND");
        command.arg("INFO").arg(names);
        let answer = self.query(&command, "COMMAND INFO").await?;
        let known = reply::array(answer, "COMMAND INFO")?;
        Ok(known.iter().map(|info| matches!(info, redis::Value::Array(_))).collect())
    }
}
