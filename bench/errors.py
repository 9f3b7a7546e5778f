"""Exceptions for mistakes of the user; the command line prints each in one line and exits with code 2."""

from __future__ import annotations


class BenchError(Exception):
    """Base class of the errors that a user can cause.

    The message is one line: it names the option, field or file first, then the fault and the next step.
    """


class ConfigError(BenchError):
    """Exception raised for an unknown name or an invalid value of an option, a config field or a registry."""


class DataError(BenchError):
    """Exception raised if a data set is missing, empty or does not match its documented layout."""


class MediaError(DataError):
    """Exception raised if a media file cannot be decoded.

    The clip is listed among the data issues and skipped; the run continues.
    """


class Diverged(BenchError):
    """Exception raised if a loss or a score is NaN or infinite.

    The run is stored as failed; the command continues with its other runs.
    """


class StoreError(BenchError):
    """Exception raised if a results folder, a record or a tracking server cannot be read or written."""
