"""What child processes of tests do; importable in a fresh interpreter."""

import synapse_rs


def publish_one(redis_url: str) -> None:
    """Publishes one event to `numbers` and leaves the rest to the end of the process."""
    synapse_rs.Publisher(redis_url).publish("numbers", {"event": "n"})
