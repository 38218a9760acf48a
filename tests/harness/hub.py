"""A hub process."""

from __future__ import annotations

from harness.service import Service


class Hub(Service):
    """A `synapse-hub`."""

    binary_name = "synapse-hub"
