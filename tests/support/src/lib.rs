//! A real Redis per test, free ports and conditions to wait for.

mod redis_server;
mod wait;

pub use redis_server::{RedisServer, RedisServerBuilder};
pub use wait::{eventually, free_port};
