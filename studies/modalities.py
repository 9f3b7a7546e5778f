"""What do picture and sound each bring, to the supervised model and to MART?"""

from studies.study import Study, question_of

MODALITIES = Study(
    "modalities",
    question_of(__doc__),
    arms=("mbt-video", "mbt-audio", "mbt", "mart-video", "mart-audio", "mart"),
    table="modalities",
)
