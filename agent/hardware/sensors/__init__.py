"""What the board says of itself while it runs: heat, throttling, clocks, load, disk, power."""
