//! What is accepted reaches its stream once, in order, whatever happens to Redis and the network meanwhile.

#![expect(clippy::unwrap_used, reason = "a test states what must hold")]

mod accepting;
mod closing;
mod cuts;
mod elsewhere;
mod forbidden;
mod given_up;
mod lab;
mod outages;
mod properties;
mod refusals;
mod silence;
mod support;
mod trimming;
mod wires;
