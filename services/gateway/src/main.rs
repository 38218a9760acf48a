//! The realtime gateway: forwards every stream to WebSocket and Socket.IO clients.

fn main() {}
