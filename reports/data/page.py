"""A data set as one web page that needs nothing but itself: what it is, what is in it, what is wrong with it."""

from __future__ import annotations

from statistics import median

from bench.facts import Facts
from reports.data.charts import duration, stack
from reports.data.counts import Tally, doubts, faults, has_val, name_splits, tally, total
from reports.data.parts import (
    additional_section,
    contact_sheet,
    lengths,
    modalities,
    opened_clips,
    problems,
    section,
    words,
)
from reports.data.style import STYLE
from reports.foreign import text

PROBLEMS = "problems.csv"  # the list beside the page that holds every problem
UNITS = ("B", "kB", "MB", "GB", "TB")
RULES = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"  # even a hostile name can fetch nothing


def page(facts: Facts) -> str:
    """The page as HTML: no script, nothing fetched, every name escaped."""
    card = facts.card
    title = f"{card.title} (BUILT-IN SAMPLE)" if facts.sample else card.title
    banner = (
        f'<div class="banner">BUILT-IN SAMPLE: drawn, not the real {text(card.title)}</div>' if facts.sample else ""
    )
    parts = (_header, _about, _classes, contact_sheet, lengths, words, modalities)
    added = "".join(additional_section(facts, one) for one in facts.sections)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{RULES}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{text(title)}: facts of the data set</title><style>{STYLE}</style></head>"
        f"<body>{banner}<main>{''.join(part(facts) for part in parts)}{added}{problems(facts, PROBLEMS)}"
        f'<footer class="note">{text(title)}. Facts of the clips on one machine; names of clips are those of its '
        "owners. Frames may not be passed on where its licence forbids it.</footer></main></body></html>\n"
    )


def _header(facts: Facts) -> str:
    card, everything, opened = facts.card, total(facts), opened_clips(facts)
    seconds = [clip.seconds for clip in opened if clip.seconds is not None]
    figures = [(f"{everything.clips:,}", "usable clips"), (str(len(card.classes)), "classes")]
    figures.append((f"{everything.groups:,}", f"groups ({card.group})"))
    if everything.opened:
        figures += [(duration(everything.seconds), "in all"), (duration(median(seconds)), "median clip")]
        figures.append((f"{sum(clip.words for clip in opened) / len(opened):.1f}", "words a clip"))
    if facts.bytes:
        figures.append((_size(facts.bytes), _density(facts.bytes, everything.seconds)))
    told = "".join(f'<div class="figure"><b>{text(number)}</b><span>{text(of)}</span></div>' for number, of in figures)
    said = f"{len(facts.clips):,} clips are listed"
    said += f", {everything.lost:,} of them missing or unreadable" if everything.lost else ""
    said += f"; {everything.opened:,} are prepared." if everything.opened else "; none is prepared yet."
    if card.clips is not None and card.clips != len(facts.clips) and not facts.sample:
        said += f" The data set is said to have {card.clips:,}."
    fold = f" · fold {facts.fold}" if len(card.folds) > 1 else ""
    return (
        f'<header><p class="kicker">Facts of a data set{fold}</p><h1>{text(card.title)}</h1><p class="lead">{said}</p>'
        f'<div class="figures">{told}</div>{_fitness(facts)}</header>'
    )


def _fitness(facts: Facts) -> str:
    wrong, weak = faults(facts), doubts(facts)
    kind, word = (
        ("unfit", "Not fit to run") if wrong else ("doubt", "Fit to run, with doubts") if weak else ("", "Fit to run")
    )
    lines = "".join(f"<li>{text(line)}</li>" for line in (*wrong, *weak))
    return f'<div class="verdict {kind}"><b>{word}</b>{f"<ul>{lines}</ul>" if lines else ""}</div>'


def _about(facts: Facts) -> str:
    card = facts.card
    rows = {
        "language of words": card.language,
        "splits": card.splits if has_val(facts) else f"{card.splits}; val is cut from train by the seed of a run",
        "group": card.group,
        "fold": f"{facts.fold}, of {card.folds[0]} to {card.folds[-1]}: {card.fold}" if len(card.folds) > 1 else "",
        "licence": card.licence,
        "to obtain it": card.obtain,
        "to cite": card.cite,
    }
    told = "".join(f"<dt>{name}</dt><dd>{text(value)}</dd>" for name, value in rows.items() if value)
    return section(facts, "What it is", f"<dl>{told}</dl>")


def _classes(facts: Facts) -> str:
    rows, splits = tally(facts), name_splits(facts)
    lost = any(row.lost for row in rows)
    heads = [*splits, "groups", *(["lost"] if lost else []), "hours"]
    names = "".join(f'<th scope="col" class="n">{head}</th>' for head in heads)
    longest = max(1, *(row.clips + row.lost for row in rows))
    body = "".join(
        f'{_row(row, heads)}<tr class="strip"><td colspan="{len(heads) + 1}">'
        f"{stack([*((split, row.splits[split]) for split in splits), ('lost', row.lost)], longest)}</td></tr>"
        for row in rows
    )
    key = "".join(f'<span><i class="{name}"></i>{name}</span>' for name in (*splits, *(["lost"] if lost else [])))
    return section(
        facts,
        "Classes and splits",
        f'<div class="key">{key}</div><table id="classes"><thead><tr><th scope="col">class <span class="sign">'
        f"(sentiment)</span></th>{names}</tr></thead><tbody>{body}</tbody>"
        f"<tfoot>{_row(total(facts), heads)}</tfoot></table>"
        + ('<p class="note">Lost: listed, but missing or unreadable.</p>' if lost else ""),
    )


def _row(row: Tally, heads: list[str]) -> str:
    sign = f' <span class="sign">({row.sign})</span>' if row.sign else ""
    hours = f"{row.seconds / 3600:.2f}" if row.opened else "–"
    values: dict[str, str] = {split: f"{count:,}" for split, count in row.splits.items()}
    values |= {"groups": f"{row.groups:,}", "lost": f"{row.lost:,}", "hours": hours}
    cells = "".join(f'<td class="n">{values[head]}</td>' for head in heads)
    return f'<tr><th scope="row">{text(row.name)}{sign}</th>{cells}</tr>'


def _size(count: float) -> str:
    unit = 0
    while count >= 1000 and unit < len(UNITS) - 1:
        count, unit = count / 1000, unit + 1
    return f"{count:.3g} {UNITS[unit]}"


def _density(count: int, seconds: float) -> str:
    return f"prepared, {_size(3600 * count / seconds)} an hour" if seconds else "prepared"
