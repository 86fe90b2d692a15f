"""Measurements of the daemon against the raw loop, and the model files that they need."""
