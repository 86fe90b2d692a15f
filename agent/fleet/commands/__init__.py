"""Commands from the broker: written down, carried out, answered; each of them effectively once."""
