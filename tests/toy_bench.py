"""The real command line with the toy method and the toy data set in its registries."""

import sys

from datasets.registry import DATASETS
from methods.registry import METHODS
from studies.command.cli import main
from tests.toys import TOY, TOY_DATA

if __name__ == "__main__":
    METHODS["toy"] = TOY
    DATASETS["toy"] = TOY_DATA
    sys.exit(main())
