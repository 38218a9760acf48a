//! The whole life of a service's process: parse, build, spawn, wait for a signal, drain within the grace.

use std::{
    error::Error,
    fmt::Write as _,
    io::{self, Write as _},
    process::ExitCode,
};

use axum::Router;
use tokio::{
    runtime::Runtime,
    signal::unix::{SignalKind, signal},
};
use tracing::{info, warn};

use crate::{
    serve::{ListenError, listen},
    service::{Ended, Ports, Service},
    settings::{ADMIN_PORT, About, Action, Command, Common, Environment, PORT, SettingError},
    telemetry::{Metrics, start_log},
};

/// The exit status for settings that are wrong (`EX_USAGE` of sysexits.h).
pub const EXIT_BAD_SETTINGS: u8 = 64;

/// What starting a service may fail with.
pub type StartError = Box<dyn Error + Send + Sync>;

/// Runs a service to its end and gives the exit status: 0 after an orderly end, 64 for bad settings,
/// 1 for anything else.
///
/// `read` reads the service's own settings; `start` spawns its tasks with [`Service::spawn`] and gives
/// its routes. SIGTERM and SIGINT begin the drain, a second one ends the process at once.
pub fn run<S, R, F>(about: &About, read: R, start: F) -> ExitCode
where
    R: FnOnce(&Environment) -> Result<S, SettingError>,
    F: AsyncFnOnce(S, Service) -> Result<Router, StartError>,
{
    run_or_do(about, read, start, async |task: Task<S>| {
        Err(format!("{} is listed and can't be done", task.action.name).into())
    })
}

/// What a service is to do instead of serving.
#[derive(Debug)]
pub struct Task<S> {
    /// Which of [`About::commands`].
    pub action: &'static Action,
    /// The flags of it that were given.
    pub flags: Environment,
    /// The settings that all services share.
    pub common: Common,
    /// The service's own.
    pub settings: S,
}

/// The same for a service that can do something else instead, as [`About::commands`] says: `act` does it. A
/// [`SettingError`] from there is one of its flags, and the exit status is 64.
pub fn run_or_do<S, R, F, A>(about: &About, read: R, start: F, act: A) -> ExitCode
where
    R: FnOnce(&Environment) -> Result<S, SettingError>,
    F: AsyncFnOnce(S, Service) -> Result<Router, StartError>,
    A: AsyncFnOnce(Task<S>) -> Result<(), StartError>,
{
    let arguments = std::env::args_os().skip(1).map(|argument| argument.to_string_lossy().into_owned());
    let environment = match Command::parse(about, Environment::from_process(), arguments) {
        Ok(Command::Run(environment)) => environment,
        Ok(Command::Do(action, environment, flags)) => {
            return act_once(about, &environment, read, (action, flags), act);
        }
        Ok(Command::Print(text)) => return print(&text),
        Err(error) => return refuse(about, &error),
    };
    let settings =
        Common::read(&environment, about.default_port).and_then(|common| Ok((common, read(&environment)?)));
    let (common, own) = match settings {
        Ok(settings) => settings,
        Err(error) => return refuse(about, &error),
    };
    let service = start_log(common.log_format, &common.log_filter)
        .and_then(|()| Metrics::start(about))
        .map(|metrics| Service::new(about, common, Some(metrics)));
    let service = match service {
        Ok(Ok(service)) => service,
        Ok(Err(error)) => return refuse(about, &error),
        Err(error) => return fail(about, &error),
    };
    raise_file_limit(service.common.max_connections);
    let runtime = match Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return fail(about, &error),
    };
    let ended = runtime.block_on(live(about, service, async |service| start(own, service).await));
    // What is still running now has had its grace.
    runtime.shutdown_background();
    match ended {
        Ok(Ended::InOrder) => ExitCode::SUCCESS,
        Ok(Ended::Broken) => ExitCode::FAILURE,
        Err(error) => fail(about, error.as_ref()),
    }
}

fn act_once<S>(
    about: &About,
    environment: &Environment,
    read: impl FnOnce(&Environment) -> Result<S, SettingError>,
    (action, flags): (&'static Action, Environment),
    act: impl AsyncFnOnce(Task<S>) -> Result<(), StartError>,
) -> ExitCode {
    let settings =
        Common::read(environment, about.default_port).and_then(|common| Ok((common, read(environment)?)));
    let (common, own) = match settings {
        Ok(settings) => settings,
        Err(error) => return refuse(about, &error),
    };
    if let Err(error) = start_log(common.log_format, &common.log_filter) {
        return fail(about, &error);
    }
    let task = Task { action, flags, common, settings: own };
    match Runtime::new().map(|runtime| runtime.block_on(act(task))) {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(error)) => match error.downcast_ref::<SettingError>() {
            Some(error) => refuse(about, error),
            None => fail(about, error.as_ref()),
        },
        Err(error) => fail(about, &error),
    }
}

async fn live(
    about: &About,
    service: Service,
    start: impl AsyncFnOnce(Service) -> Result<Router, StartError>,
) -> Result<Ended, StartError> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let mut signalled = async || {
        tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        }
    };
    let ports = open(&service).await?;
    let work = async {
        let routes = tokio::select! {
            routes = start(service.clone()) => routes?,
            () = service.shutdown.cancelled() => return Ok(Ended::InOrder),
        };
        announce(about, &ports)?;
        Ok(service.serve(ports, routes).await)
    };
    let mut work = std::pin::pin!(work);
    tokio::select! {
        ended = &mut work => return ended,
        name = signalled() => info!(signal = name, "leaving"),
    }
    service.shutdown.cancel();
    tokio::select! {
        ended = work => ended,
        name = signalled() => {
            warn!(signal = name, "leaving at once: the second signal");
            Ok(Ended::Broken)
        }
    }
}

async fn open(service: &Service) -> Result<Ports, ListenError> {
    let common = &service.common;
    Ok(Ports {
        public: listen(&common.host, common.port, PORT.name).await?,
        admin: match common.admin_port {
            Some(port) => Some(listen(&common.host, port, ADMIN_PORT.name).await?),
            None => None,
        },
    })
}

/// One line on stdout for each port, with the number that was really taken.
fn announce(about: &About, ports: &Ports) -> io::Result<()> {
    let mut text = format!("{} listens on http://{}\n", about.name, ports.public.local_addr()?);
    if let Some(admin) = &ports.admin {
        let address = admin.local_addr()?;
        let _ = writeln!(text, "{} serves /ready and /metrics on http://{address}", about.name);
    }
    // Nobody reads it: no reason to stop.
    let _ = io::stdout().write_all(text.as_bytes()).and_then(|()| io::stdout().flush());
    Ok(())
}

/// The soft limit of open files is often 1,024, and each connection is one.
fn raise_file_limit(connections: usize) {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    let now = if raised.is_ok() { limit.maximum } else { limit.current };
    if now.is_some_and(|files| files < connections as u64) {
        warn!(
            open_files = now,
            max_connections = connections,
            "fewer files may be open than MAX_CONNECTIONS; raise the limit (ulimit -n, LimitNOFILE=)"
        );
    }
}

fn print(text: &str) -> ExitCode {
    match io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn refuse(about: &About, error: &SettingError) -> ExitCode {
    complain(about, error);
    ExitCode::from(EXIT_BAD_SETTINGS)
}

fn fail(about: &About, error: &dyn Error) -> ExitCode {
    complain(about, error);
    ExitCode::FAILURE
}

/// On stderr as it is: there may be no log yet, and what it says must not depend on `RUST_LOG`.
fn complain(about: &About, error: &dyn Error) {
    let _ = writeln!(io::stderr(), "{}: {error}", about.name);
}
