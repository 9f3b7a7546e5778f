"""Figures of a report, and of the clips of a run."""
