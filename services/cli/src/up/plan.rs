//! What will run where, decided before anything is started.

use std::{ffi::OsString, io, net::TcpListener, path::PathBuf, time::Duration};

use synapse_chassis::settings::{self, Common, LogFormat};
use tokio::time::{Instant, sleep};

use super::{
    UpError, as_environment,
    catalog::{SERVICES, Service},
    environment::{self, Variables},
    private_redis::PrivateRedis,
    process::{Dialect, Recipe},
};

/// Any of these says that there is a Redis already.
const REDIS_GIVEN: [&str; 4] = ["REDIS_URL", "REDIS_URL_FILE", "REDIS_HOST", "REDIS_PORT"];
/// How long the services of an `up` that was killed may take to leave their ports.
const PORT_PATIENCE: Duration = Duration::from_secs(2);

/// Services with their executables.
type Installed = Vec<(Service, PathBuf)>;

/// Everything that will run.
#[derive(Debug)]
pub(crate) struct Plan {
    /// How our own log is written.
    pub(crate) log_format: LogFormat,
    /// The server of our own, if none was given.
    pub(crate) private_redis: Option<PrivateRedis>,
    /// Executables that are not there.
    pub(crate) missing: Vec<&'static str>,
    /// Services whose executables are.
    installed: Installed,
    variables: Variables,
    shared: Vec<(&'static str, OsString)>,
    redis_url: Option<String>,
}

/// A service and what it is started with.
#[derive(Debug)]
pub(crate) struct PlannedService {
    /// Which.
    pub(crate) service: Service,
    /// The settings it will find.
    pub(crate) common: Common,
    executable: PathBuf,
    variables: Variables,
}

impl Plan {
    /// Reads the settings, and finds what there is to start.
    pub(crate) fn of(variables: Variables) -> Result<Self, UpError> {
        let environment = as_environment(&variables);
        let formats = [("text", LogFormat::Text), ("json", LogFormat::Json)];
        let log_format = environment.choice(&settings::LOG_FORMAT, &formats)?;
        let data_dir = settings::data_dir(&environment)?;
        let data_dir = std::path::absolute(&data_dir)
            .map_err(|source| UpError::System { what: "the current directory", source })?;
        let mut redis_url = None;
        let private_redis = if REDIS_GIVEN.iter().any(|name| environment.get(name).is_some()) {
            redis_url = Some(settings::redis(&environment)?.to_string());
            None
        } else {
            Some(PrivateRedis::find(&data_dir.join("redis"))?)
        };
        let (installed, missing) = installed()?;
        // The log is read by us, whoever reads ours.
        let shared = vec![("DATA_DIR", data_dir.into_os_string()), ("LOG_FORMAT", OsString::from("json"))];
        let plan = Self { log_format, private_redis, missing, installed, variables, shared, redis_url };
        // Bad settings are told before anything runs.
        plan.services()?;
        Ok(plan)
    }

    /// The address of the Redis that was given, without credentials.
    pub(crate) fn redis_url(&self) -> Option<String> {
        self.redis_url.clone()
    }

    /// Has all services use this Redis.
    pub(crate) fn use_redis(&mut self, url: &str) {
        self.shared.push(("REDIS_URL", OsString::from(url)));
        // Left over from an unset address: a password or a database of a server that this is not.
        for name in ["REDIS_USERNAME", "REDIS_PASSWORD", "REDIS_PASSWORD_FILE", "REDIS_DB"] {
            self.variables.remove(&OsString::from(name));
        }
    }

    /// The services with their settings, read and checked.
    pub(crate) fn services(&self) -> Result<Vec<PlannedService>, UpError> {
        self.installed
            .iter()
            .map(|(service, executable)| self.planned(*service, executable.clone()))
            .collect()
    }

    fn planned(&self, service: Service, executable: PathBuf) -> Result<PlannedService, UpError> {
        let mut variables = environment::of_service(&service, &self.variables, &self.shared);
        let read = |variables: &Variables| {
            Common::read(&as_environment(variables), service.default_port).map_err(|source| {
                UpError::ServiceSettings { service: service.name, prefix: service.prefix(), source }
            })
        };
        let common = read(&variables)?;
        // We have to know where to ask: its port is chosen here, not by the service.
        let port = if common.port == 0 { free_port(&common.host)? } else { common.port.to_string().into() };
        environment::set(&mut variables, "PORT", port);
        if common.admin_port == Some(0) {
            environment::set(&mut variables, "ADMIN_PORT", free_port(&common.host)?);
        }
        let common = read(&variables)?;
        Ok(PlannedService { service, common, executable, variables })
    }
}

impl PlannedService {
    /// Where clients find it, as `host:port`.
    pub(crate) fn address(&self) -> String {
        address(&self.common.host, self.common.port)
    }

    /// Where it is asked whether it is ready.
    pub(crate) fn probe_address(&self) -> String {
        let host = match self.common.host.as_str() {
            "0.0.0.0" => "127.0.0.1",
            "::" | "[::]" => "::1",
            host => host,
        };
        address(host, self.common.admin_port.unwrap_or(self.common.port))
    }

    /// How to start it.
    pub(crate) fn recipe(self) -> Recipe {
        Recipe {
            name: self.service.name,
            program: self.executable,
            arguments: Vec::new(),
            variables: self.variables,
            dialect: Dialect::Service,
            lock: None,
        }
    }

    /// Its ports, each with the variable that changes it.
    fn ports(&self) -> impl Iterator<Item = (u16, &'static str)> {
        [(Some(self.common.port), "PORT"), (self.common.admin_port, "ADMIN_PORT")]
            .into_iter()
            .filter_map(|(port, name)| Some((port?, name)))
    }
}

/// Sees to it that every port is free; those of an `up` that was just killed are waited for.
pub(crate) async fn check_ports(services: &[PlannedService]) -> Result<(), UpError> {
    let deadline = Instant::now() + PORT_PATIENCE;
    // Held until all are known, so that two services on one port are found out as well.
    let mut held = Vec::new();
    for service in services {
        for (port, name) in service.ports() {
            loop {
                match listen(&service.common.host, port) {
                    Ok(listener) => break held.push(listener),
                    Err(error) if error.kind() == io::ErrorKind::AddrInUse && Instant::now() < deadline => {
                        sleep(Duration::from_millis(50)).await;
                    }
                    Err(error) => return Err(cant_listen(service, port, name, error)),
                }
            }
        }
    }
    Ok(())
}

fn cant_listen(planned: &PlannedService, port: u16, name: &str, source: io::Error) -> UpError {
    let service = planned.service.name;
    match source.kind() {
        io::ErrorKind::AddrInUse => {
            UpError::PortTaken { port, service, variable: planned.service.variable(name) }
        }
        io::ErrorKind::PermissionDenied => UpError::CantListen {
            address: address(&planned.common.host, port),
            service,
            variable: planned.service.variable(name),
            source,
        },
        _ => UpError::CantListen {
            address: address(&planned.common.host, port),
            service,
            variable: planned.service.variable("HOST"),
            source,
        },
    }
}

/// The services whose executables are there, and the names of those that are not.
fn installed() -> Result<(Installed, Vec<&'static str>), UpError> {
    let own = |source| UpError::System { what: "the path of synapse itself", source };
    let mut installed = Vec::new();
    let mut missing = Vec::new();
    for service in SERVICES {
        match service.executable().map_err(own)? {
            Some(executable) => installed.push((service, executable)),
            None => missing.push(service.binary),
        }
    }
    if installed.is_empty() {
        let mut folder = std::env::current_exe().map_err(own)?;
        folder.pop();
        return Err(UpError::NoServices { folder, looked_for: missing.join(", ") });
    }
    Ok((installed, missing))
}

fn listen(host: &str, port: u16) -> io::Result<TcpListener> {
    TcpListener::bind((bare(host), port))
}

fn free_port(host: &str) -> Result<OsString, UpError> {
    let port = listen(host, 0).and_then(|listener| listener.local_addr());
    let port = port.map_err(|source| UpError::System { what: "no free port", source })?.port();
    Ok(port.to_string().into())
}

/// An IPv6 address without its brackets.
fn bare(host: &str) -> &str {
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

fn address(host: &str, port: u16) -> String {
    let host = bare(host);
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}
