"""Recordings, the microphone and streams."""
