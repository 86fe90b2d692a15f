"""The link to the fleet, over a real broker."""
