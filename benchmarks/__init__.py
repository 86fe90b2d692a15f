"""Measurements, in a folder for each part. What several of them use is here."""
