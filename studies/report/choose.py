"""Which runs stand in a report, and what is left out: one kind of data, one preset, one set of values set by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import get_args

from bench.cards import CARD, read_card
from bench.config import parse_overrides
from bench.data import Card
from bench.errors import StoreError
from bench.record import Protocol, Record, RunFolder
from bench.store import Store
from datasets.registry import DATASETS
from reports.results.pools import cell_of
from reports.results.run import Run
from reports.results.searched import Summary
from studies.ask import find_arm, find_from_scratch, known_arms
from studies.report.doubles import LeftOut, Named, of_one_card, of_one_kind, once
from studies.report.filters import Filter
from studies.report.labels import told_apart, values_in_words
from studies.report.naming import Name, Settings, in_words, names_of, settings_of
from studies.report.records import Found
from studies.study import Study

PROTOCOLS: tuple[Protocol, ...] = get_args(Protocol)
FULL = "mart"  # whose search gives other arms their values, where no study says so


@dataclass(frozen=True)
class Wish:
    """What a report is asked for beside its name."""

    runs: Filter = field(default_factory=Filter)
    preset: str = ""  # "": that of most arms, paper before quick
    settings: Mapping[str, str] | None = None  # None: those that most arms have runs with


@dataclass(frozen=True)
class Choice:
    """The runs of a report in the order of its arms, how they came by their values, and what is left out and why."""

    runs: tuple[Run, ...]
    preset: str
    settings: Settings
    values: str  # a sentence for captions
    left_out: tuple[tuple[str, str], ...]  # key of a run -> why
    narrowed: str = ""  # a warning: a filter left runs of the study out


def choose(found: Sequence[Found], study: Study, searches: Sequence[Summary], wish: Wish, store: Store) -> Choice:
    """The runs of a study's arms and protocols. Real data go before the sample; of several presets, and values set by
    hand, those that most arms have runs with."""
    named = [
        (one, name)
        for one in found
        if one.record.spec.protocol in study.protocols
        for name in names_of(one.record, searches, study.full)
        if name.arm in study.arms
    ]
    taken = [pair for pair in named if wish.runs.takes(pair[0].record, pair[1].arm)]
    rest = len({one.record.key for one, _ in named} - {one.record.key for one, _ in taken})
    narrowed = f"NARROWED to {wish.runs}: {rest} other runs of the study are left out." if rest else ""
    taken, left_out = of_one_kind(_own_search(taken) if study.tuning == "re-tuned" else taken)
    preset, settings = _most(taken, study, wish)
    kept = [pair for pair in taken if _fits(pair, preset, settings)]
    others = [pair for pair in taken if not _fits(pair, preset, settings)]
    left_out += [(one.record.key, f"with {_in_words(*_variant(one, name))}") for one, name in others]
    runs, more = _make(kept, searches, study.full, study.arms, store)
    runs = told_apart(runs, by_hand=False)
    values = values_in_words(runs, preset, in_words(settings), study.full, by_hand=False)
    return Choice(tuple(runs), preset, settings, values, tuple(left_out + more), narrowed)


def choose_any(found: Sequence[Found], searches: Sequence[Summary], wish: Wish, store: Store) -> Choice:
    """The runs that a filter takes, whatever they are, each under the name it was asked for by where that fits."""
    named: list[Named] = []
    unknown: LeftOut = []
    for one in found:
        names = names_of(one.record, searches, FULL)
        known = [name for name in names if name.arm == one.record.arm] or names
        if not known and wish.runs.takes(one.record, one.record.arm):
            unknown.append((one.record.key, "that no arm and preset explains"))
        named += [(one, known[0])] if known and wish.runs.takes(one.record, known[0].arm) else []
    named, left_out = of_one_kind(named)
    runs, more = _make(named, searches, FULL, list(known_arms()), store)
    by_hand = any(run.settings for run in runs)
    runs = told_apart(runs, by_hand)
    presets = ", ".join(dict.fromkeys(run.record.preset for run in runs))
    values = values_in_words(runs, presets, "", FULL, by_hand)
    return Choice(tuple(runs), presets, (), values, tuple(left_out + unknown + more))


def _make(
    named: Sequence[Named], searches: Sequence[Summary], full: str, arms: Sequence[str], store: Store
) -> tuple[list[Run], LeftOut]:
    """Runs of what was chosen, one for each place, in the order of the arms; what has no place, or cannot be read."""
    kept, left_out = once(named)
    cards: dict[str, Card | None] = {}  # key of a run -> its card; a run that failed has none
    for one, _ in kept:
        try:
            cards[one.record.key] = read_card(one.path.parent)
        except StoreError:
            left_out.append((one.record.key, f"whose {CARD} cannot be read"))
    shared = {one.record.spec.dataset: card for one, _ in kept if (card := cards.get(one.record.key)) is not None}
    made = [
        _run(
            one,
            name,
            _is_searched(one.record, name.arm, searches, full),
            store,
            cards[one.record.key] or _card_of(one.record, shared),
        )
        for one, name in kept
        if one.record.key in cards
    ]
    runs, others = of_one_card(made)
    return _in_order(runs, arms), left_out + others


def _is_searched(record: Record, arm: str, searches: Sequence[Summary], full: str) -> bool:
    """Whether a search on the same data varied anything that the arm has and does not pin."""
    own = find_arm(arm)
    free = own.method.config.model_fields.keys() - own.overrides.keys()
    place = record.spec.dataset, record.spec.data, record.preset
    return any(
        search.arm in (arm, full)
        and place == (search.dataset, search.data, search.preset)
        and free & search.ranges.keys()
        for search in searches
    )


def _own_search(named: list[Named]) -> list[Named]:
    """Without the runs that other studies made with another method's values, of arms that have values of their own."""
    tuned = {name.arm for _, name in named if name.values == "re-tuned"}
    return [(one, name) for one, name in named if name.values != "frozen" or name.arm not in tuned]


def _in_order(runs: Sequence[Run], arms: Sequence[str]) -> list[Run]:
    """Runs by arm, then by data set as the registry has them (one's own behind, by name), fold and seed; of those in
    one place a clean run goes first."""
    known = list(DATASETS)

    def place(run: Run) -> tuple[object, ...]:
        dataset, fold, seed = cell_of(run)
        line = PROTOCOLS.index(run.record.spec.protocol), run.values, run.record.preset, run.settings
        where = known.index(dataset) if dataset in known else len(known), dataset, fold, seed
        return arms.index(run.arm), *where, *line

    return sorted(runs, key=place)


def _variant(one: Found, name: Name) -> tuple[str, Settings]:
    return one.record.preset, name.settings


def _most(named: Sequence[Named], study: Study, wish: Wish) -> tuple[str, Settings]:
    """The preset and the values set by hand that most arms have runs with; paper before quick, a study's own before
    others."""
    own = settings_of(study.arms, "quick", parse_overrides(list(study.quick)))
    known = dict.fromkeys(_variant(*pair) for pair in named)
    if wish.settings is not None:
        given = wish.settings
        known = dict.fromkeys((preset, settings_of(study.arms, preset, given)) for preset, _ in known)
    known = {variant: None for variant in known if wish.preset in ("", variant[0])}

    def worth(variant: tuple[str, Settings]) -> tuple[int, bool, bool, int]:
        fits = [pair for pair in named if _fits(pair, *variant)]
        usual = variant[1] == (own if variant[0] == "quick" else ())
        return len({name.arm for _, name in fits}), variant[0] == "paper", usual, len(fits)

    return max(known, key=worth, default=(wish.preset, ()))


def _fits(pair: Named, preset: str, settings: Settings) -> bool:
    """Whether a run was made with these values, as far as its arm has them and does not pin them."""
    one, name = pair
    arm = find_arm(name.arm)
    free = arm.method.config.model_fields.keys() - arm.overrides.keys()
    wanted = tuple((set_, value) for set_, value in settings if set_ in free)
    return one.record.preset == preset and name.settings == wanted


def _in_words(preset: str, settings: Settings) -> str:
    return f"preset {preset}, {in_words(settings)}" if settings else f"preset {preset}"


def _run(one: Found, name: Name, searched: bool, store: Store, card: Card) -> Run:
    folder = RunFolder(one.path.parent)
    noted = store.noted(folder)
    published = noted if noted.get("sha") == one.sha else {}
    return Run(
        record=one.record,
        folder=folder.path,
        card=card,
        arm=name.arm,
        values=name.values,
        settings=in_words(name.settings),
        tried=name.tried,
        searched=searched,
        sha=one.sha,
        run_id=published.get("run_id"),
        experiment=published.get("experiment"),
        from_scratch=bool(find_from_scratch([one.record])),
    )


def _card_of(record: Record, shared: Mapping[str, Card]) -> Card:
    """Return the card of a run that stored none, since it failed or is here without its files: the registry's, or that
    of another run on the same data set."""
    name = record.spec.dataset
    if name in DATASETS:
        return DATASETS[name].card
    if name in shared:
        return shared[name]
    classes = tuple(key.removeprefix("test/recall/") for key in record.scores if key.startswith("test/recall/"))
    return Card(name, name, classes, (0,) * len(classes), {}, "", "", "", "")
