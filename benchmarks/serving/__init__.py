"""Text over HTTP against the raw loop, and what a server must survive."""
