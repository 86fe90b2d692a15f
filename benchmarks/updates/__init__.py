"""Model updates: bytes, faults, kills, and serving meanwhile."""
