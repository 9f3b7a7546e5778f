"""What do picture and sound each bring, to the supervised model and to MART?"""

from studies.study import Study

MODALITIES = Study(
    "modalities",
    "What do picture and sound each bring, to the supervised model and to MART?",
    arms=("mbt-video", "mbt-audio", "mbt", "mart-video", "mart-audio", "mart"),
    table="modalities",
)
