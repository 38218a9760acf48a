use super::{Connection, StreamError, reply};

impl Connection {
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
