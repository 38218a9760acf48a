//! What every Synapse service shares: settings, identity, health, metrics, errors as JSON, serve and drain.
