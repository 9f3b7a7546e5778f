"""MART (Zhang et al., CVPR 2024), one module for each section of the paper."""

from __future__ import annotations
