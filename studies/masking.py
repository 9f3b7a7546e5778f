"""Does it matter which tokens are hidden (Table 4)?"""

from studies.study import Study

MASKING = Study(
    "masking",
    "Does it matter which tokens are hidden (Table 4)?",
    arms=(
        "mart-mask-frame",
        "mart-mask-random",
        "mart-mask-tube",
        "mart-mask-attention",
        "mart-no-masking",
        "mart",
    ),
    quick=("patch=12", "audio_patch=16"),  # its one patch a frame leaves a tube nothing to choose from
    table="masking",
)
