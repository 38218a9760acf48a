"""What can go wrong; each message says what, where and what to do."""


class SynapseError(Exception):
    """The base of all errors of this package."""


class ConnectionFailed(SynapseError):
    """Redis can't be reached, or refuses the credentials."""


class QueueFull(SynapseError):
    """Redis takes events more slowly than they come, or not at all, and the queue's bound is reached."""


class DeliveryError(SynapseError):
    """An accepted event is not on its stream: refused by Redis for good, given up, or not acknowledged in time."""


class InvalidEvent(SynapseError, ValueError):
    """An event is not of the shape that its stream asks for; nothing of it was written."""


class Closed(SynapseError):
    """Used after it was closed."""
