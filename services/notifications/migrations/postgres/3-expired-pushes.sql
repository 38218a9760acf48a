CREATE INDEX pushes_by_expiry ON pushes (expires_ms);
