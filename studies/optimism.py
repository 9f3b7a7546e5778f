"""What is it worth, in points, to choose the epoch on the test list, as the field's released code does?

Each run is trained twice with one seed, on the same clips: once val chooses the epoch, once the test list does. The
second kind of number is flagged wherever it stands.
"""

from studies.study import Study

OPTIMISM = Study(
    "optimism",
    "What is it worth, in points, to choose the epoch on the test list, as the field's released code does?",
    arms=("mbt", "mart"),
    tuning="none",
    protocols=("clean", "best-on-test"),  # each run twice with one seed and the same clips; the second is flagged
    table="optimism",
)
