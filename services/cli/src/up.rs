//! `synapse up`: the whole platform on this machine.
//!
//! # Layout
//!
//! * [`catalog`]: the services there are. [`environment`]: the variables each is started with.
//! * [`data_lock`], [`private_redis`]: a redis-server of our own, for whoever has none.
//! * [`supervisor`] keeps one process running; [`process`] is one child, [`leash`] has it die with us,
//!   [`probe`] asks whether it is ready.
//! * [`log`]: one log of all of them.
//! * [`banner`]: what is printed when all are ready.
//!
//! All of it runs on the main thread: children are tied to the thread that started them.

mod banner;
mod catalog;
mod data_lock;
pub(crate) mod environment;
mod leash;
mod log;
mod plan;
mod private_redis;
mod probe;
mod process;
mod signals;
mod supervisor;

use std::{ffi::OsString, io, path::PathBuf, time::Duration};

use synapse_chassis::settings::{Environment, SettingError};
use synapse_rs::shutdown::Shutdown;
use tokio::{
    sync::mpsc::{self, Receiver, Sender},
    task::JoinHandle,
};

use self::{
    banner::Banner,
    data_lock::{DataLock, LockError},
    environment::Variables,
    log::{Log, record::Level},
    plan::{Plan, PlannedService},
    private_redis::{NotInstalled, PrivateRedis},
    probe::Probe,
    signals::Signals,
    supervisor::{Ending, Failed, Report, Supervisor},
};
use crate::terminal::Terminal;

/// What a service may take to be gone beyond its own grace.
const MARGIN: Duration = Duration::from_secs(2);
/// What redis-server may take to write what it holds and be gone.
const REDIS_GRACE: Duration = Duration::from_secs(20);
/// Ports that are tried when others take them from under us.
const REDIS_ATTEMPTS: u32 = 8;

/// Why the platform does not run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UpError {
    /// Settings of all services.
    #[error(transparent)]
    Settings(#[from] SettingError),
    /// Settings of one.
    #[error("{service}: {source} (given to it alone as {prefix}…)")]
    ServiceSettings {
        /// The service.
        service: &'static str,
        /// What its own variables start with.
        prefix: String,
        /// What is wrong.
        source: SettingError,
    },
    /// None of the executables is there.
    #[error("no service is installed beside {}: looked for {looked_for}; build them (cargo build) or install them there", folder.display())]
    NoServices {
        /// Where we looked.
        folder: PathBuf,
        /// Their names.
        looked_for: String,
    },
    /// Somebody else listens there.
    #[error(
        "port {port}, where the {service} would listen, is taken by another program; set {variable} to another port"
    )]
    PortTaken {
        /// The port.
        port: u16,
        /// Whose.
        service: &'static str,
        /// What changes it.
        variable: String,
    },
    /// An address that is not ours or a port that is not for us.
    #[error("the {service} can't listen on {address}: {source}; set {variable}")]
    CantListen {
        /// Where.
        address: String,
        /// Who.
        service: &'static str,
        /// What changes it.
        variable: String,
        /// What the system said.
        source: io::Error,
    },
    /// The data directory.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// No redis-server.
    #[error(transparent)]
    NotInstalled(#[from] NotInstalled),
    /// A process that can't be kept running.
    #[error(transparent)]
    Failed(#[from] Failed),
    /// Ended the hard way.
    #[error("killed at the second signal: events in hand may be delivered again")]
    Killed,
    /// What the system refused us.
    #[error("{what}: {source}")]
    System {
        /// What we wanted.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

impl UpError {
    /// Whether the caller has to change a setting.
    pub(crate) fn is_bad_settings(&self) -> bool {
        matches!(
            self,
            Self::Settings(_) | Self::ServiceSettings { .. } | Self::Failed(Failed::BadSettings { .. })
        )
    }
}

/// Runs the platform until a signal ends it or it can't go on. `variables` are ours, flags laid over them.
pub(crate) async fn run(variables: Variables, terminal: Terminal) -> Result<(), UpError> {
    let mut signals = Signals::listen().map_err(|source| UpError::System { what: "signals", source })?;
    let plan = Plan::of(variables)?;
    let (log, writer) = Log::start(plan.log_format, terminal);
    let platform = Platform::new(log);
    let ended = platform.run(plan, &mut signals).await;
    // With the platform the last log is gone, and its thread ends.
    writer.finish();
    ended
}

/// The processes that run, and how they are ended: services first, then what they work with.
#[derive(Debug)]
struct Platform {
    log: Log,
    reports: Sender<Report>,
    news: Receiver<Report>,
    stop_services: Shutdown,
    stop_redis: Shutdown,
    kill: Shutdown,
    services: Vec<JoinHandle<()>>,
    redis: Option<JoinHandle<()>>,
}

impl Platform {
    fn new(log: Log) -> Self {
        let (reports, news) = mpsc::channel(16);
        Self {
            log,
            reports,
            news,
            stop_services: Shutdown::new(),
            stop_redis: Shutdown::new(),
            kill: Shutdown::new(),
            services: Vec::new(),
            redis: None,
        }
    }

    async fn run(mut self, plan: Plan, signals: &mut Signals) -> Result<(), UpError> {
        let ended = tokio::select! {
            signal = signals.next() => {
                self.log.say(Level::Info, format!("{signal}: stopping"));
                Ok(())
            }
            failed = self.work(plan) => Err(failed),
        };
        if let Err(failed) = &ended {
            self.log.say(Level::Error, failed.to_string());
        }
        let kill = self.kill.clone();
        let killed = tokio::select! {
            biased;
            () = self.stop() => return ended,
            signal = signals.next() => signal,
        };
        self.log.say(Level::Warn, format!("{killed} again: killing what is left"));
        kill.cancel();
        self.stop().await;
        ended.and(Err(UpError::Killed))
    }

    /// Starts everything and watches over it; comes back only when it can't go on.
    async fn work(&mut self, plan: Plan) -> UpError {
        match self.start(plan).await {
            Ok(banner) => self.watch(banner).await,
            Err(error) => error,
        }
    }

    async fn start(&mut self, mut plan: Plan) -> Result<Banner, UpError> {
        let mut banner = Banner::new(plan.redis_url());
        if let Some(redis) = plan.private_redis.take() {
            let url = self.start_redis(redis, &mut banner).await?;
            plan.use_redis(&url);
        }
        for name in &plan.missing {
            self.log.say(Level::Warn, format!("{name} is not installed beside synapse; going on without it"));
        }
        let services = plan.services()?;
        plan::check_ports(&services).await?;
        for service in services {
            banner.add(&service);
            self.start_service(service);
        }
        Ok(banner)
    }

    /// Starts the private server and waits until it answers; gives its URL.
    async fn start_redis(&mut self, mut redis: PrivateRedis, banner: &mut Banner) -> Result<String, UpError> {
        let lock = DataLock::acquire(&redis.directory).await?;
        for attempt in 1.. {
            let chosen = redis.choose_port(attempt);
            chosen.map_err(|source| UpError::System { what: "no port for redis-server", source })?;
            match self.try_redis(&redis, &lock).await {
                Ok(()) => break,
                // Between the look at the port and the server's own, someone was quicker.
                Err(UpError::Failed(Failed::NeverReady { reason, .. }))
                    if attempt < REDIS_ATTEMPTS && private_redis::is_port_lost(&reason) => {}
                Err(error) => return Err(error),
            }
        }
        let (port, data) = (redis.port, redis.directory.display());
        let message = format!("redis-server of our own, data in {data}: redis-cli -p {port}");
        self.log.say(Level::Info, message);
        banner.private_redis(&redis);
        Ok(redis.url())
    }

    async fn try_redis(&mut self, redis: &PrivateRedis, lock: &DataLock) -> Result<(), UpError> {
        let what = "the lock of the data directory";
        let supervisor = Supervisor {
            recipe: redis.recipe(lock).map_err(|source| UpError::System { what, source })?,
            probe: Probe::Redis(redis.settings()),
            essential: true,
            ending: self.ending(&self.stop_redis, REDIS_GRACE),
            log: self.log.clone(),
            reports: self.reports.clone(),
        };
        self.redis = Some(tokio::spawn(supervisor.run()));
        match self.news.recv().await {
            Some(Report::Failed(failed)) => Err(failed.into()),
            Some(Report::Ready(_)) | None => Ok(()),
        }
    }

    fn start_service(&mut self, service: PlannedService) {
        self.log.say(Level::Info, format!("starting the {} on {}", service.service.name, service.address()));
        let supervisor = Supervisor {
            probe: Probe::Http(service.probe_address()),
            essential: false,
            ending: self.ending(&self.stop_services, service.common.shutdown_grace + MARGIN),
            log: self.log.clone(),
            reports: self.reports.clone(),
            recipe: service.recipe(),
        };
        self.services.push(tokio::spawn(supervisor.run()));
    }

    fn ending(&self, stop: &Shutdown, grace: Duration) -> Ending {
        Ending { stop: stop.clone(), kill: self.kill.clone(), grace }
    }

    /// Says when all are ready; comes back only when one fails for good.
    async fn watch(&mut self, mut banner: Banner) -> UpError {
        loop {
            match self.news.recv().await {
                Some(Report::Ready(name)) => {
                    self.log.say(Level::Info, format!("{name} is ready"));
                    if banner.is_complete_with(name) {
                        self.log.say(Level::Info, "the platform is ready");
                        self.log.show(&banner.render(self.log.has_colors()));
                    }
                }
                Some(Report::Failed(failed)) => return failed.into(),
                // We hold a sender ourselves.
                None => return std::future::pending().await,
            }
        }
    }

    /// Ends the services, then Redis; can be dropped and called again.
    async fn stop(&mut self) {
        self.stop_services.cancel();
        while let Some(service) = self.services.last_mut() {
            let _ = service.await;
            self.services.pop();
        }
        self.stop_redis.cancel();
        if let Some(redis) = &mut self.redis {
            let _ = redis.await;
            self.log.say(Level::Info, "everything has stopped");
        }
        self.redis = None;
    }
}

/// Our own variables.
pub(crate) fn own_variables() -> Variables {
    std::env::vars_os().collect()
}

/// Variables as the settings of services read them; those that are not UTF-8 are left for the service to refuse.
pub(crate) fn as_environment(variables: &Variables) -> Environment {
    let text = |text: &OsString| text.to_str().map(str::to_owned);
    Environment::from_map(variables.iter().filter_map(|(name, value)| Some((text(name)?, text(value)?))))
}
