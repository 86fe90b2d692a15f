"""The programs that speak, each in a file of its own; all are packages of Debian."""
