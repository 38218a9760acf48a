use super::{Connection, StreamError, reply};

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

    /// Which of these commands the server has (`COMMAND INFO`), in the same order.
    pub async fn has_commands(&self, names: &[&str]) -> Result<Vec<bool>, StreamError> {
        let mut command = redis::cmd("COMMAND");
        command.arg("INFO").arg(names);
        let answer = self.query(&command, "COMMAND INFO").await?;
        let known = reply::array(answer, "COMMAND INFO")?;
        Ok(known.iter().map(|info| matches!(info, redis::Value::Array(_))).collect())
    }

    /// The process id of the server on its own machine (`INFO server`), which tells one server from another.
    pub async fn server_process_id(&self) -> Result<u32, StreamError> {
        const WHAT: &str = "INFO server";
        let mut command = redis::cmd("INFO");
        command.arg("server");
        let answer = self.query(&command, WHAT).await?;
        let info = reply::text(&answer, WHAT)?;
        let id = info.lines().find_map(|line| line.strip_prefix("process_id:")?.trim().parse().ok());
        id.ok_or_else(|| reply::unexpected(WHAT, &answer))
    }
}
