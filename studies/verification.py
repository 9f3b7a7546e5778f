"""Does checking a cue against the picture and the sound help, and up to which stage (Fig. 5)?"""

from studies.study import Study

VERIFICATION = Study(
    "verification",
    "Does checking a cue against the picture and the sound help, and up to which stage (Fig. 5)?",
    arms=("mart-no-verification", "mart-sentiment-only", "mart-emotion-only", "mart"),
    table="verification",
)
