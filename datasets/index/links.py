"""Links: followed as long as they stay inside the data folder."""

from __future__ import annotations

import os
from pathlib import Path


def refusal(path: Path, root: Path) -> str | None:
    """Why a path is not followed: it leaves the data folder, or leads nowhere; None where it may be."""
    target = Path(os.path.realpath(path))  # unlike Path.resolve, bears links in a circle
    if not target.is_relative_to(os.path.realpath(root)):
        return "a link that leaves the data folder; not followed"
    return None if target.exists() else "a link that leads nowhere"
