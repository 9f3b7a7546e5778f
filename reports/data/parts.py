"""The sections of a data set's page on what was found in its clips: lengths, words, modalities, problems."""

from __future__ import annotations

from collections.abc import Sequence

from bench.data import Problem
from bench.facts import ClassFacts, ClipFacts, Facts, FactsSection
from reports.data.charts import duration, histogram, second_steps, share, word_steps
from reports.data.counts import MODALITIES, Tally, by_kind, lost_keys, tally, total
from reports.data.kinds import what_is_done
from reports.foreign import text

SHOWN = 100  # problems of a kind
LONG = 160  # signs of a name or a reason
STILLS = 12  # of a class


def section(facts: Facts, title: str, content: str) -> str:
    """A section under its heading, which says where the sample stands in."""
    tag = '<span class="tag">BUILT-IN SAMPLE</span>' if facts.sample else ""
    return f"<section><h2>{text(title)}{tag}</h2>{content}</section>"


def opened_clips(facts: Facts) -> list[ClipFacts]:
    """The clips that are prepared and readable."""
    return [clip for clip in facts.clips if clip.seconds is not None]


def contact_sheet(facts: Facts) -> str:
    """A few frames of each class."""
    import base64

    parts = []
    for name in facts.card.classes:
        found = facts.stills.get(name, ())[:STILLS]
        figures = [
            f'<figure title="{text(_cut(still.key))}"><img alt="{text(_cut(still.key))}" src="data:image/jpeg;base64,'
            f'{base64.b64encode(still.jpeg).decode()}"><figcaption>'
            f"{text(_cut(still.key.removeprefix(f'{name}/'), 60))}</figcaption></figure>"
            for still in found
        ]
        if figures:
            parts.append(f'<h3>{text(name)}</h3><div class="sheet">{"".join(figures)}</div>')
    without = [name for name in facts.card.classes if not facts.stills.get(name)]
    if not parts:
        return section(facts, "Contact sheet", '<p class="note">No picture of any clip is at hand.</p>')
    if without:
        parts.append(f'<p class="note">No picture of {text(", ".join(without))}.</p>')
    return section(facts, "Contact sheet", '<p class="note">A frame from the middle of each clip.</p>' + "".join(parts))


def lengths(facts: Facts) -> str:
    """How long the clips are."""
    known = [(clip.seconds, clip.key) for clip in opened_clips(facts) if clip.seconds is not None]
    if not known:
        return section(facts, "Length of clips", _unprepared())
    (short, shortest), (long, longest) = min(known), max(known)
    told = (
        f"<p>The longest is <b>{text(_cut(longest))}</b> with {duration(long)}, the shortest "
        f"<b>{text(_cut(shortest))}</b> with {duration(short)}.</p>"
    )
    chart = histogram([seconds for seconds, _ in known], second_steps(), duration, "clips by length")
    return section(facts, "Length of clips", told + chart + '<p class="note">Clips by length.</p>')


def words(facts: Facts) -> str:
    """How many words the clips have, and how many have none."""
    opened = opened_clips(facts)
    if not opened:
        return section(facts, "Words", _unprepared())
    spoken = [clip.words for clip in opened if clip.words]
    silent = len(opened) - len(spoken)
    told = (
        f"<p><b>{_percent(silent / len(opened))}</b> of the clips ({silent:,} of {len(opened):,}) have no words"
        + (f"; the others have {sum(spoken):,} in all.</p>" if spoken else ".</p>")
        + share(len(spoken) / len(opened))
    )
    if not spoken:
        return section(facts, "Words", told)
    chart = histogram(spoken, word_steps(), lambda edge: f"{edge:,.0f}", "clips by number of words")
    return section(facts, "Words", told + chart + '<p class="note">Clips with words, by how many they have.</p>')


def modalities(facts: Facts) -> str:
    """Which share of each class's clips has picture, sound, words."""
    if not opened_clips(facts):
        return section(facts, "Picture, sound, words", _unprepared())
    heads = "".join(f'<th scope="col" class="n">{name}</th>' for name in MODALITIES)
    body = "".join(_presence(row, row.name) for row in tally(facts))
    return section(
        facts,
        "Picture, sound, words",
        '<p class="note">Share of the readable clips of a class that have each.</p>'
        f'<table id="modalities" class="even"><thead><tr><th scope="col">class</th>{heads}</tr></thead>'
        f"<tbody>{body}</tbody><tfoot>{_presence(total(facts), 'all')}</tfoot></table>",
    )


def _presence(row: Tally, name: str) -> str:
    shares = [count / row.opened if row.opened else 0.0 for count in row.present]
    cells = "".join(
        f'<td class="n">{_percent(part) if row.opened else "–"}{share(part) if row.opened else ""}</td>'
        for part in shares
    )
    return f'<tr><th scope="row">{text(name)}</th>{cells}</tr>'


def additional_section(facts: Facts, extra: FactsSection) -> str:
    """What a method finds in the data, class by class, and why."""
    lead = f"<p>{text(extra.lead)} <b>{text(extra.names)}</b>.</p>" if extra.lead else ""
    heads = "".join(f'<th scope="col" class="n">{text(head)}</th>' for head in extra.headings)
    return section(
        facts,
        extra.title,
        f'{lead}<table id="{text(extra.id)}" class="even"><thead><tr><th scope="col">class</th>{heads}</tr></thead>'
        f"<tbody>{''.join(map(_class_facts, extra.classes))}</tbody></table>"
        f'<p class="note">{text(extra.meaning)}</p>',
    )


def _class_facts(row: ClassFacts) -> str:
    cells = "".join(
        f'<td class="n">{text(cell) if isinstance(cell, str) else f"{_percent(cell)}{share(cell)}"}</td>'
        for cell in row.cells
    )
    return (
        f'<tr><th scope="row">{text(row.name)}</th>{cells}</tr>'
        f'<tr class="strip"><td colspan="{len(row.cells) + 1}" class="why">{text(row.why)}</td></tr>'
    )


def problems(facts: Facts, file: str) -> str:
    """What is wrong, by kind; `file` is the name of the list that holds all of it."""
    if not facts.problems:
        return section(facts, "Problems", "<p>None found.</p>")
    lost = len(lost_keys(facts))
    told = (
        f"<p>{len(facts.problems):,} in all, {lost:,} of which cost a listed clip; every one is named in "
        f"<b>{text(file)}</b> beside this page.</p>"
    )
    return section(facts, "Problems", told + "".join(_kind(*row, file) for row in by_kind(facts.problems)))


def _kind(kind: str, found: Sequence[Problem], file: str) -> str:
    items = "".join(
        f'<li><b>{text(_cut(problem.where))}</b> <span class="why">{text(_cut(problem.why))}</span></li>'
        for problem in found[:SHOWN]
    )
    rest = f'<p class="note">and {len(found) - SHOWN:,} more in {text(file)}</p>' if len(found) > SHOWN else ""
    return (
        f'<details><summary><b>{text(kind)}</b><span class="many">{len(found):,}</span>'
        f'<span class="why">{text(what_is_done(kind))}</span></summary><ol>{items}</ol>{rest}</details>'
    )


def _unprepared() -> str:
    return '<p class="note">Not known: no clip is prepared.</p>'


def _percent(part: float) -> str:
    return f"{100 * part:.0f} %" if part in (0, 1) or 0.01 <= part <= 0.99 else f"{100 * part:.1f} %"


def _cut(name: str, long: int = LONG) -> str:
    return name if len(name) <= long else f"{name[: long - 1]}…"
