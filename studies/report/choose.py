"""Which runs stand in a report, and what is left out: one kind of data, one preset, one set of values set by hand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from bench.cards import read_card
from bench.config import parse_overrides
from bench.data import Card
from bench.protocol import flag
from bench.record import Record, RunFolder
from bench.store import Store
from datasets.registry import DATASETS
from reports.results.pools import cell_of
from reports.results.run import Run
from reports.results.searched import Summary
from studies.ask import find_arm, known_arms
from studies.report.filters import Filter
from studies.report.naming import Name, Settings, in_words, names_of, settings_of
from studies.report.records import Found
from studies.study import Study

Named = tuple[Found, Name]


@dataclass(frozen=True)
class Wish:
    """What a report is asked for beside its name."""

    runs: Filter = field(default_factory=Filter)
    preset: str = ""  # "": that of most arms, paper before quick
    settings: Mapping[str, str] | None = None  # None: those that most arms have runs with


@dataclass(frozen=True)
class Choice:
    """The runs of a report in the order of its arms, the values they were set to, and what was left out and why."""

    runs: tuple[Run, ...]
    preset: str
    settings: Settings
    left_out: tuple[tuple[str, str], ...]  # key of a run -> why


def choose(found: Sequence[Found], study: Study, searches: Sequence[Summary], wish: Wish, store: Store) -> Choice:
    """The runs of a study's arms and protocols. Real data go before the sample; of several presets, and values set by
    hand, those that most arms have runs with."""
    named = [
        (one, name)
        for one in found
        if one.record.spec.protocol in study.protocols
        for name in names_of(one.record, searches, study.full)
        if name.arm in study.arms and wish.runs.takes(one.record, name.arm)
    ]
    named, left_out = _one_kind(_own_search(named) if study.tuning == "re-tuned" else named)
    preset, settings = _most(named, study, wish)
    kept = [pair for pair in named if _fits(pair, preset, settings)]
    rest = [pair for pair in named if not _fits(pair, preset, settings)]
    left_out += [(one.record.key, f"with {_in_words(*_variant(one, name))}") for one, name in rest]
    kept, doubles = _once(kept)
    runs = _in_order([_run(*pair, store) for pair in kept], study.arms)
    return Choice(tuple(_told_apart(runs)), preset, settings, tuple(left_out + doubles))


def choose_any(found: Sequence[Found], searches: Sequence[Summary], wish: Wish, store: Store) -> Choice:
    """The runs that a filter takes, whatever they are, each under the name it was asked for by where that fits."""
    named = []
    for one in found:
        names = names_of(one.record, searches, "mart")
        known = [name for name in names if name.arm == one.record.arm] or names
        named += [(one, known[0])] if known and wish.runs.takes(one.record, known[0].arm) else []
    named, left_out = _one_kind(named)
    kept, doubles = _once(named)
    runs = _in_order([_run(*pair, store) for pair in kept], list(known_arms()))
    presets = ", ".join(dict.fromkeys(run.record.preset for run in runs))
    return Choice(tuple(_told_apart(runs)), presets, (), tuple(left_out + doubles))


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
        line = run.record.spec.protocol != "clean", run.values, run.record.preset, run.settings
        where = known.index(dataset) if dataset in known else len(known), dataset, fold, seed
        return arms.index(run.arm), *where, *line

    return sorted(runs, key=place)


def _one_kind(named: list[Named]) -> tuple[list[Named], list[tuple[str, str]]]:
    """Real data alone, where there are any: sample and real never stand in one table."""
    real = [pair for pair in named if pair[0].record.spec.data == "real"]
    if not real or len(real) == len(named):
        return named, []
    sample = [one.record.key for one, _ in named if one.record.spec.data == "sample"]
    return real, [(key, "on the built-in sample") for key in sample]


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


def _once(named: Sequence[Named]) -> tuple[list[Named], list[tuple[str, str]]]:
    """One run for each arm, way of tuning, data set, fold, seed and protocol: of several, made on different clips or
    started from different files, that which has more runs like itself."""
    like = Counter(_making(one.record) for one, _ in named)
    kept: dict[tuple[object, ...], Named] = {}
    doubles = []
    for one, name in sorted(named, key=lambda pair: (-like[_making(pair[0].record)], pair[0].record.key)):
        spec = one.record.spec
        place = (*_called(name), spec.dataset, spec.fold, spec.seed, spec.protocol, one.record.preset)
        if place in kept and kept[place][0].record.error is not None and one.record.error is None:
            kept[place] = (one, name)  # what failed on other clips is no reason to leave out what did not
        elif place in kept:
            doubles.append((one.record.key, f"in whose place in a table stands {kept[place][0].record.key}"))
        else:
            kept[place] = (one, name)
    return list(kept.values()), doubles


def _called(name: Name) -> tuple[object, ...]:
    return name.arm, name.values, name.settings


def _making(record: Record) -> tuple[object, ...]:
    return record.spec.dataset, record.spec.split, record.spec.content, *sorted(record.spec.weights.items())


def _run(one: Found, name: Name, store: Store) -> Run:
    folder = RunFolder(one.path.parent)
    noted = store.noted(folder)
    published = noted if noted.get("sha") == one.sha else {}
    return Run(
        record=one.record,
        folder=folder.path,
        card=read_card(folder.path) or _card_of(one.record),
        arm=name.arm,
        values=name.values,
        settings=in_words(name.settings),
        tried=name.tried,
        sha=one.sha,
        run_id=published.get("run_id"),
        experiment=published.get("experiment"),
    )


def _card_of(record: Record) -> Card:
    """The card of a run that kept none: it failed, or it is here without its files."""
    name = record.spec.dataset
    if name in DATASETS:
        return DATASETS[name].card
    classes = tuple(key.removeprefix("test/recall/") for key in record.scores if key.startswith("test/recall/"))
    return Card(name, name, classes, (0,) * len(classes), {}, "", "", "", "")


def _told_apart(runs: Sequence[Run]) -> list[Run]:
    """The runs with what tells lines of one arm apart: whose values, which preset, what was set, which protocol."""
    tuned = {run.values for run in runs if run.values != "own"}
    by_arm = Counter(arm for arm, _ in {(run.arm, run.values) for run in runs})
    by_hand = Counter(arm for arm, _ in {(run.arm, run.settings) for run in runs})
    presets = len({run.record.preset for run in runs})
    found = []
    for run in runs:
        several = len(tuned) > 1 or by_arm[run.arm] > 1
        told: list[str] = [run.values if several and (run.values != "own" or by_arm[run.arm] > 1) else ""]
        told += [run.record.preset if presets > 1 else "", run.settings if by_hand[run.arm] > 1 else ""]
        told += [flag(run.record.spec)]
        found.append(replace(run, apart="; ".join(text for text in told if text)))
    return found
