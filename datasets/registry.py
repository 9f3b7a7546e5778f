"""The data sets that can be run by name."""

from bench.data import Dataset
from datasets.ekman6 import EKMAN6

DATASETS: dict[str, Dataset] = {entry.card.name: entry for entry in (EKMAN6,)}
