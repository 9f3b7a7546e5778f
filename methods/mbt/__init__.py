"""MBT: transformers of picture and sound that exchange information through bottleneck tokens."""

from __future__ import annotations
