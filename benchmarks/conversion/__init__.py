"""How fast the converters are, and in how much memory."""
