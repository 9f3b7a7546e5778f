"""Does it matter what is recovered of the hidden tokens (Table 5)?"""

from studies.study import Study

TARGET = Study(
    "target",
    "Does it matter what is recovered of the hidden tokens (Table 5)?",
    arms=("mart-target-kl", "mart-target-pixel", "mart-target-hog", "mart-target-clip", "mart"),
    needs=(("mart-target-clip", "weights_teacher"),),
    table="target",
)
