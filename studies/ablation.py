"""Which part of MART is its gain due to (Table 3, and verification stopped after sentiment and after emotion)?

`mbt-long` is the control: as many steps as MART, on the label loss alone.
"""

from studies.study import Study

ABLATION = Study(
    "ablation",
    "Which part of MART is its gain due to (Table 3, and verification stopped after sentiment and after emotion)?",
    arms=(
        "mbt",
        "mbt-long",  # the control: as many steps as MART, on the label loss alone
        "mart-no-masking",
        "mart-no-verification",
        "mart-sentiment-only",
        "mart-emotion-only",
        "mart",
    ),
    table="components",
)
