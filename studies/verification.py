"""Does checking a cue against the picture and the sound help, and up to which stage (Fig. 5)?"""

from studies.study import Study, question_of

VERIFICATION = Study(
    "verification",
    question_of(__doc__),
    arms=("mart-no-verification", "mart-sentiment-only", "mart-emotion-only", "mart"),
    table="verification",
)
