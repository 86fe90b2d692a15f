"""Vectors, and search among passages."""
