"""Figures of a report and of single clips."""

from __future__ import annotations
