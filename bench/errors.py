"""Errors that a user can cause; the command line turns each into one line and exit code 2."""

from __future__ import annotations


class BenchError(Exception):
    """Base of all errors a user can cause: the message says what, where and what next, on one line."""


class ConfigError(BenchError):
    """A name or a value that no config, registry or option knows."""


class DataError(BenchError):
    """A data set that is missing, empty or does not hold what its card promises."""


class MediaError(DataError):
    """A media file that cannot be read; it is listed, counted and left out, and the run goes on."""


class Diverged(BenchError):
    """A loss or a score that is not a number any more: a failed run, not a failed command."""


class StoreError(BenchError):
    """A results folder or a tracking server that cannot be read or written."""
