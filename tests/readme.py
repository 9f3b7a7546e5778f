"""What the README shows, taken out of it to be run."""

from __future__ import annotations

import re
import sys
import types
from typing import Any

from tests.conftest import ROOT

TEXT = (ROOT / "README.md").read_text()


def commands() -> list[str]:
    """The lines of the README that start the program."""
    return [line.strip() for line in TEXT.splitlines() if line.startswith("    python bench.py")]


def method_of_ones_own() -> Any:
    """The method that the README writes in one file, imported as if it stood in `methods/`."""
    (code,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    module = types.ModuleType("methods.loudness")
    sys.modules[module.__name__] = module
    exec(compile(code, "methods/loudness.py", "exec"), module.__dict__)
    return module.__dict__["LOUDNESS"]
