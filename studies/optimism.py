"""What is it worth, in points, to choose the epoch on the test list, as the field's released code does?

Each run is trained twice with one seed, on the same clips: once val chooses the epoch, once the test list does. The
second kind of number is flagged wherever it stands.
"""

from studies.study import Study, question_of

OPTIMISM = Study(
    "optimism",
    question_of(__doc__),
    arms=("mbt", "mart"),
    tuning="none",
    protocols=("clean", "best-on-test"),
    table="optimism",
)
