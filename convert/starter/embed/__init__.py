"""starter-embed: a small text encoder, distilled from all-MiniLM-L6-v2 on sentences that a grammar makes."""
