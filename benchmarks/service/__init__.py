"""A boot, and a day of work."""
