//! A real Redis per test, a network in front of it that can be broken, free ports and conditions to wait for.

mod point_server;
mod postgres_server;
mod proxy;
mod redis_server;
mod wait;

pub use point_server::PointServer;
pub use postgres_server::PostgresServer;
pub use proxy::{Cut, Fault, Gate, Passed, Plan, Proxy};
pub use redis_server::{RedisServer, RedisServerBuilder};
pub use wait::{eventually, free_port};
