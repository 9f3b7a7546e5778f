"""What is done about each kind of problem with the data, in a line."""

from __future__ import annotations

DONE = {
    "bare names": "used; a clip name under two classes can stand there but once",
    "black": "used; the picture says nothing",
    "case": "taken for the class of that name",
    "class": "not read: the card has no such class",
    "columns": "not used",
    "container": "read as what it is, whatever its name says",
    "damaged": "the rest is used",
    "duplicate": "kept once",
    "empty": "the clip is used without that file",
    "encoding": "read in the encoding that fits",
    "frames": "gaps show the frame before; pictures without a place are left out",
    "label": "left out: no class of the card",
    "leak": "kept in the later split alone, so that nothing tested is trained on",
    "length": "the clip is as long as the longer of picture and sound",
    "link": "not followed: it leaves the folder, or leads nowhere",
    "missing": "left out: listed, but no picture or sound is there",
    "name": "not read: rename it",
    "no file": "what the row names is not there; the rest of the clip is used",
    "no picture": "used without picture",
    "no sound": "used without sound",
    "no words": "used without words",
    "one frame": "used; the frame is shown throughout",
    "outside": "words that begin outside the clip are left out",
    "overlap": "all words are kept, in order of time",
    "picture": "used without the picture, which cannot be decoded",
    "rotated": "shown upright",
    "same content": "told; on two sides of a split it is a leak",
    "silent": "used; the sound says nothing",
    "sound": "used without the sound, which cannot be decoded",
    "straddles": "clips are not grouped, since the lists part the groups that names tell",
    "subset": "left out: no split is known of it",
    "time stamps": "frames go on one mean step later",
    "transcript": "used without words",
    "transcribe": "used without words",
    "truncated": "what can be read is used",
    "two classes": "kept under each class, never parted by a split",
    "two files": "the first by name is used",
    "unlisted": "not read: no list names it",
    "unreadable": "left out: nothing of it can be decoded",
    "warning": "used all the same",
}


def what_is_done(kind: str) -> str:
    """What becomes of a problem of a kind; of an unknown kind its own reason says it."""
    return DONE.get(kind, "see the reason of each")
