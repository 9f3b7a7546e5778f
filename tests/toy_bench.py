"""The command line with the toy method and the toy data set registered, also in spawned workers."""

import sys

from datasets.registry import DATASETS
from methods import METHODS
from studies.cli.main import main
from tests.toys import TOY, TOY_DATA

METHODS["toy"] = TOY
DATASETS["toy"] = TOY_DATA

if __name__ == "__main__":
    sys.exit(main())
