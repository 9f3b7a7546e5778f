"""The command line: what a person types becomes calls, tables and exit codes."""
