"""The operating system's service manager: units, readiness, watchdog, handed-over sockets, the workers' cgroups."""
