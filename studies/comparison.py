"""Does MART beat the supervised model it starts from, and everything simpler, on each data set (Tables 1 and 2)?

Each method has a search of its own with the same budget, where one is asked for.
"""

from studies.study import FIVE, Study

COMPARISON = Study(
    "comparison",
    ("Does MART beat the supervised model it starts from, and everything simpler, on each data set (Tables 1 and 2)?"),
    arms=("majority", "probe", "mbt", "mbt-long", "mart-released", "mart"),
    datasets=FIVE,
    every_fold=True,
    tuning="per-arm",  # the same budget for each method
)
