//! Rooms, outboxes and the wire protocols that carry events to connected clients.
