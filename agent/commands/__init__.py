"""The commands of `edge-agent`, one module each.

`add_arguments(parser, common)` declares a command's flags, `run(call)` does its work and returns the exit status.
`common` holds the flags of every command, for a command that has parsers of its own.
"""
