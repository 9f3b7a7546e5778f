"""The exit codes of the program."""

DONE = 0
MISTAKE = 2  # the user's: one line says what, where, what next
INCOMPLETE = 3  # finished, but runs failed or records wait
INTERRUPTED = 130  # the state is kept
