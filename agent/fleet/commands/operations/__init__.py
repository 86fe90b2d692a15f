"""What a broker can command, one operation per file."""
