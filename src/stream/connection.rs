use std::time::Duration;

use redis::{
    AsyncConnectionConfig, Cmd, RedisConnectionInfo, RedisError, Value,
    aio::{ConnectionLike as _, MultiplexedConnection},
};
use tokio::time::timeout;

use super::{StreamError, wire::Wire};
use crate::config::RedisSettings;

/// How long a command that does not block may take.
pub(super) const RESPONSE_TIMEOUT: Duration = Duration::from_secs(5);

/// What the server puts before the reason why it does not begin a transaction.
const ABORTED: &str = "EXECABORT Transaction discarded because of: ";

/// A connection for short commands, shared by all its clones.
///
/// It does not reconnect: after [`StreamError::Unreachable`] open a new one. It ends with its last clone.
#[derive(Clone, Debug)]
pub struct Connection {
    shared: MultiplexedConnection,
    address: String,
}

impl Connection {
    /// Connects and authenticates.
    pub async fn open(settings: &RedisSettings) -> Result<Self, StreamError> {
        let address = settings.to_string();
        let wire = Wire::open(settings).await?;
        let mut info = RedisConnectionInfo::default()
            .set_db(i64::from(settings.database))
            .set_lib_name("synapse-rs", env!("CARGO_PKG_VERSION"));
        if let Some(username) = &settings.username {
            info = info.set_username(username);
        }
        if let Some(password) = &settings.password {
            info = info.set_password(password.reveal());
        }
        let config = AsyncConnectionConfig::new().set_response_timeout(Some(RESPONSE_TIMEOUT));
        let greeting = MultiplexedConnection::new_with_config(&info, wire, config);
        let (shared, driver) = match timeout(RESPONSE_TIMEOUT, greeting).await {
            Ok(Ok(greeted)) => greeted,
            Ok(Err(error)) => return Err(stream_error(&error, &address, "the greeting")),
            Err(_) => {
                let reason = format!("connected, but it did not answer within {RESPONSE_TIMEOUT:?}");
                return Err(StreamError::Unreachable { address, reason });
            }
        };
        // Ends when the last clone of the connection is dropped.
        tokio::spawn(driver);
        let connection = Self { shared, address };
        match connection.ping().await {
            // A server that can't persist refuses even this, but answers whoever reads.
            Err(error) if error.code() == Some("MISCONF") => {}
            answer => answer.map_err(|error| unauthorized(error, &connection.address))?,
        }
        Ok(connection)
    }

    /// Whether the server answers.
    pub async fn ping(&self) -> Result<(), StreamError> {
        self.query(&redis::cmd("PING"), "PING").await.map(drop)
    }

    /// Ends the waiting of a blocking read on another connection; its reply comes at once.
    pub async fn unblock(&self, client_id: i64) -> Result<(), StreamError> {
        let mut command = redis::cmd("CLIENT");
        command.arg("UNBLOCK").arg(client_id);
        self.query(&command, "CLIENT UNBLOCK").await.map(drop)
    }

    /// Sends a command; `what` names it in errors, for example `XRANGE model-events`.
    pub(super) async fn query(&self, command: &Cmd, what: &str) -> Result<Value, StreamError> {
        let mut connection = self.shared.clone();
        let answer = connection.req_packed_command(command).await;
        answer.and_then(Value::extract_error).map_err(|error| stream_error(&error, &self.address, what))
    }

    /// Sends commands together and gives their answers in order, each of which may be an error of its own
    /// ([`Connection::answered`]); of a transaction the answer of its `EXEC` alone.
    pub(super) async fn query_all(
        &self,
        commands: &redis::Pipeline,
        is_transaction: bool,
        what: &str,
    ) -> Result<Vec<Value>, StreamError> {
        let (offset, count) = if is_transaction { (commands.len() + 1, 1) } else { (0, commands.len()) };
        let mut connection = self.shared.clone();
        let answers = connection.req_packed_commands(commands, offset, count).await;
        answers.map_err(|error| stream_error(&error, &self.address, what))
    }

    /// One answer of [`Connection::query_all`], if it is not an error.
    pub(super) fn answered(&self, answer: Value, what: &str) -> Result<Value, StreamError> {
        answer.extract_error().map_err(|error| stream_error(&error, &self.address, what))
    }
}

/// A server that wants a password says so at the first command.
fn unauthorized(error: StreamError, address: &str) -> StreamError {
    match error {
        StreamError::Refused { reason, .. } if reason.starts_with("NOAUTH") => {
            StreamError::Unauthorized { address: address.to_owned(), reason }
        }
        other => other,
    }
}

/// Redis adds to the error of a command in a script where in the script that was, which helps nobody.
fn without_script(mut reason: String) -> String {
    if let Some(at) = reason.find(" script: ").filter(|at| reason[*at..].contains("on @user_script:")) {
        reason.truncate(at);
    }
    reason
}

/// The first error of a transaction's commands, for which none of them was done.
fn why_aborted(error: &RedisError) -> Option<RedisError> {
    let aborted = redis::ErrorKind::Server(redis::ServerErrorKind::ExecAbort);
    let errors = (error.kind() == aborted).then(|| error.clone().into_server_errors())??;
    errors.first().map(|(_, cause)| RedisError::from(cause.clone()))
}

fn stream_error(error: &RedisError, address: &str, what: &str) -> StreamError {
    if let Some(cause) = why_aborted(error) {
        return stream_error(&cause, address, what);
    }
    let reason = match (error.code(), error.detail()) {
        (Some(code), Some(detail)) => format!("{code} {detail}"),
        (Some(code), None) => code.to_owned(),
        (None, Some(detail)) => detail.to_owned(),
        (None, None) => error.to_string(),
    };
    let reason = without_script(reason);
    // Of a transaction that was whole, and came at the wrong time.
    let reason = reason.strip_prefix(ABORTED).map(str::to_owned).unwrap_or(reason);
    let address = address.to_owned();
    if matches!(error.kind(), redis::ErrorKind::AuthenticationFailed) || reason.starts_with("WRONGPASS") {
        StreamError::Unauthorized { address, reason }
    } else if error.code().is_some() {
        StreamError::Refused { command: what.to_owned(), reason }
    } else {
        StreamError::Unreachable { address, reason: format!("{what}: {error}") }
    }
}
