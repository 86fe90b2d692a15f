"""Joules against a meter whose power is known, and the governor on a simulated board."""
