"""What lies on the broker about this device, retained: who it is, what it can do, what it runs, how to show it."""
