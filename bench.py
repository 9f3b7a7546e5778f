"""The front door: `python bench.py --method mart --dataset ekman6`."""

import sys

from studies.cli import main

if __name__ == "__main__":
    sys.exit(main())
