"""The front door: `python bench.py --method mart --dataset ekman6`."""

import os
import sys

from studies.cli.main import main

if __name__ == "__main__":
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # torch then asks for huge pages: fewer page faults
    sys.exit(main())
