"""Work that ends its process: a module of its own, so that the processes which import it start soon."""

import os
import signal


def crash_or_name(path):
    """The name of a path; the process dies as in a decoder's fault where that is "crash"."""
    if path.name == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    return path.name
