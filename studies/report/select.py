"""The stored runs that answer a study: one kind of data, one preset, one set of values set by hand.

A record is of the arm that a request for it names. One without requests, as version 0.1 left them, is of the arm from
whose values under its preset its config differs least.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import get_args

from bench.cards import CARD, read_card
from bench.config import parse_overrides
from bench.data import Card
from bench.errors import StoreError
from bench.execute import contents_of
from bench.protocol import flag
from bench.record import Protocol, Record, RunFolder
from bench.requests import RequestedPlan, StoredRequest, Tuning
from bench.store import Store
from datasets.registry import DATASETS
from reports.results.pools import cell_of
from reports.results.run import UNKNOWN, Run, opened
from studies.ask import Arm, Settings, configure, find_arm, find_changes, known_arms
from studies.report.filters import Filter
from studies.report.records import Found
from studies.study import Study

PROTOCOLS: tuple[Protocol, ...] = get_args(Protocol)
LABELS: dict[Tuning, str] = {"none": "untuned", "shared": "shared", "per-arm": "per-arm"}
NO_PLAN = RequestedPlan({}, (), ())
LeftOut = list[tuple[str, str]]
"""Key of a run, and why it is left out."""
_HASH = re.compile("[0-9a-f]{64}")


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
    asked: Mapping[str, set[tuple[int, int]]] = field(default_factory=dict)  # data set -> (fold, seed) asked for


@dataclass(frozen=True)
class RequestedRecord:
    """A record, under the preset of one of the requests for it."""

    found: Found
    request: StoredRequest  # that was stored, or may have been

    @property
    def record(self) -> Record:
        """The record."""
        return self.found.record

    @property
    def variant(self) -> tuple[str, Settings]:
        """Its preset, and the values that were set by hand."""
        return self.request.preset, tuple(sorted(self.request.settings.items()))

    @property
    def line(self) -> tuple[object, ...]:
        """What is the same for all runs of a line on a data set and fold."""
        spec, request = self.record.spec, self.request
        return request.arm, request.tuning, *self.variant, spec.dataset, spec.fold, spec.protocol


def choose(found: Sequence[Found], study: Study, wish: Wish, store: Store) -> Choice:
    """The runs of a study's arms and protocols. Real data go before the sample; of several presets, and values set by
    hand, those that most arms have runs with."""
    named = [
        one
        for record in found
        if record.record.spec.protocol in study.protocols
        for one in match_requests(record, study.arms, study.name)
    ]
    taken = [one for one in named if wish.runs.takes(one.record, one.request.arm)]
    rest = len({one.record.key for one in named} - {one.record.key for one in taken})
    narrowed = f"NARROWED to {wish.runs}: {rest} other runs of the study are left out." if rest else ""
    taken, left_out = _of_one_kind(_of_own_search(taken, study))
    preset, settings = _most(taken, study, wish)
    kept = [one for one in taken if _fits(one.request, preset, settings)]
    others = [one for one in taken if not _fits(one.request, preset, settings)]
    for one in others:
        words = settings_in_words(one.variant[1])
        left_out.append((one.record.key, f"with preset {one.variant[0]}{f', {words}' if words else ''}"))
    runs, more = _make(kept, study.arms, store)
    runs = _told_apart(runs, by_hand=False)
    values = _values_in_words(runs, preset, settings_in_words(settings), by_hand=False)
    asked = _asked(kept, study, preset, settings)
    return Choice(tuple(runs), preset, settings, values, tuple(left_out + more), narrowed, asked)


def _asked(
    kept: Sequence[RequestedRecord], study: Study, preset: str, settings: Settings
) -> dict[str, set[tuple[int, int]]]:
    """All that the study was asked for with these values: the plans of its requests for any of its runs."""
    found: dict[str, set[tuple[int, int]]] = {}
    for one in kept:
        for request in one.found.requests:
            own = request.study == study.name and _explains(request, one.record)
            for dataset, folds in request.plan.datasets.items() if own and _fits(request, preset, settings) else ():
                found.setdefault(dataset, set()).update((fold, seed) for fold in folds for seed in request.plan.seeds)
    return found


def choose_any(found: Sequence[Found], wish: Wish, store: Store) -> Choice:
    """The runs that a filter takes, whatever they are, each by the first request for it that the filter takes."""
    named: list[RequestedRecord] = []
    unknown: LeftOut = []
    for record in found:
        by = match_requests(record, known_arms())
        taken = [one for one in by if wish.runs.takes(one.record, one.request.arm)]
        named += taken[:1]
        if not by and wish.runs.takes(record.record, record.record.arm):
            unknown.append((record.record.key, "that no arm and preset explains"))
    named, left_out = _of_one_kind(named)
    runs, more = _make(named, list(known_arms()), store)
    by_hand = any(run.settings for run in runs)
    runs = _told_apart(runs, by_hand)
    presets = ", ".join(dict.fromkeys(run.record.preset for run in runs))
    values = _values_in_words(runs, presets, "", by_hand)
    return Choice(tuple(runs), presets, (), values, tuple(left_out + unknown + more))


def match_requests(found: Found, arms: Collection[str], study: str = "") -> list[RequestedRecord]:
    """Return a record by each of the requests for it that name one of these arms, those of the study where there are
    any; of requests for one line the last. A record that no request explains is of the arms it differs least from."""
    record = found.record
    believed = [one for one in found.requests if _explains(one, record)]
    requests = [one for one in believed or _guess(record) if one.arm in arms]
    own = {one.preset for one in requests if study and one.study == study}
    kept: dict[tuple[object, ...], RequestedRecord] = {}
    for one in sorted(requests, key=lambda one: one.time):
        if one.study == study or one.preset not in own:
            match = RequestedRecord(replace(found, record=replace(record, preset=one.preset)), one)
            kept[match.line] = match
    return list(kept.values())


def _explains(request: StoredRequest, record: Record) -> bool:
    """Whether a record can be the answer to a request: its arm and what was set by hand, and no more unless tuned."""
    changes = _changes(record, request.arm, request.preset)
    if changes is None or not request.settings.items() <= dict(changes).items():
        return False
    return request.tuning != "none" or len(request.settings) == len(changes)


def _changes(record: Record, name: str, preset: str) -> Settings | None:
    """The values of a record that differ from those of an arm; None where it cannot be of that arm."""
    arm, spec = known_arms().get(name), record.spec
    changes = find_changes(name, preset, spec.config) if arm is not None and arm.method.name == spec.method else None
    return changes and tuple((field, spec.weights.get(field, value)) for field, value in changes)


def _guess(record: Record) -> Sequence[StoredRequest]:
    """The requests that may have been those for a record: of the arms from which it has the fewest other values, that
    of the name in the record first."""
    changes = {name: of for name in known_arms() if (of := _changes(record, name, record.preset)) is not None}
    fewest = min(map(len, changes.values()), default=0)
    arms = sorted((name for name, of in changes.items() if len(of) == fewest), key=lambda name: name != record.arm)
    return [StoredRequest("", name, record.preset, NO_PLAN, settings=dict(changes[name])) for name in arms]


def _of_own_search(named: list[RequestedRecord], study: Study) -> list[RequestedRecord]:
    """Without the runs that other studies made with another method's values, of arms that have values of their own
    where the study tunes each arm."""
    requests = [one.request for one in named if study.tuning == "per-arm"]
    tuned = {(request.arm, "shared") for request in requests if request.tuning == "per-arm"}
    return [
        one for one in named if (one.request.arm, one.request.tuning) not in tuned or one.request.study == study.name
    ]


def _of_one_kind(named: list[RequestedRecord]) -> tuple[list[RequestedRecord], LeftOut]:
    """Real data alone, where there are any: sample and real never stand in one table."""
    real = [one for one in named if one.record.spec.data == "real"]
    if not real or len(real) == len(named):
        return named, []
    sample = [one.record.key for one in named if one.record.spec.data == "sample"]
    return real, [(key, "on the built-in sample") for key in sample]


def _most(named: Sequence[RequestedRecord], study: Study, wish: Wish) -> tuple[str, Settings]:
    """The preset and the values set by hand that most arms have runs with; paper before quick, a study's own before
    others."""
    own = settings_of(study.arms, "quick", parse_overrides(list(study.quick)))
    known = dict.fromkeys(one.variant for one in named)
    if wish.settings is not None:
        given = wish.settings
        known = dict.fromkeys((preset, settings_of(study.arms, preset, given)) for preset, _ in known)
    known = {variant: None for variant in known if wish.preset in ("", variant[0])}

    def worth(variant: tuple[str, Settings]) -> tuple[int, bool, bool, int]:
        fits = [one.request.arm for one in named if _fits(one.request, *variant)]
        usual = variant[1] == (own if variant[0] == "quick" else ())
        return len(set(fits)), variant[0] == "paper", usual, len(fits)

    return max(known, key=worth, default=(wish.preset, ()))


def _fits(request: StoredRequest, preset: str, settings: Settings) -> bool:
    """Whether a run was asked for with these values, as far as its arm has them and does not pin them."""
    free = _free(find_arm(request.arm))
    return request.preset == preset and request.settings == {name: text for name, text in settings if name in free}


def _make(named: Sequence[RequestedRecord], arms: Sequence[str], store: Store) -> tuple[list[Run], LeftOut]:
    """Runs of what was chosen, one for each place, in the order of the arms; what has no place, or cannot be read."""
    kept, left_out = _of_last_winner(named)
    kept, doubles = _once(kept)
    left_out += doubles
    cards: dict[str, Card | None] = {}  # key of a run -> its card; a run that failed has none
    for one in kept:
        try:
            cards[one.record.key] = read_card(one.found.path.parent)
        except StoreError:
            left_out.append((one.record.key, f"whose {CARD} cannot be read"))
    shared = {one.record.spec.dataset: card for one in kept if (card := cards.get(one.record.key)) is not None}
    made = [
        _run(one, store, cards[one.record.key] or _card_of(one.record, shared))
        for one in kept
        if one.record.key in cards
    ]
    classes = Counter((run.record.spec.dataset, run.card.classes) for run in made)
    most = {dataset: of for (dataset, of), _ in reversed(classes.most_common())}
    runs = [run for run in made if run.card.classes == most[run.record.spec.dataset]]
    left_out += [(run.record.key, "of other classes") for run in made if run not in runs]
    return _in_order(runs, arms), left_out


def _of_last_winner(named: Sequence[RequestedRecord]) -> tuple[list[RequestedRecord], LeftOut]:
    """Of a line whose search went on, and found better values, the runs with those it gave last."""
    by_time = sorted(named, key=lambda one: (one.request.time, one.request.tried))
    last = {(*one.line, one.record.spec.content): one.record.spec.config for one in by_time}
    kept, left_out = [], []
    for one in named:
        if one.request.tuning == "none" or one.record.spec.config == last[*one.line, one.record.spec.content]:
            kept.append(one)
        else:
            left_out.append((one.record.key, "with values of a search that went on"))
    return kept, left_out


def _once(named: Sequence[RequestedRecord]) -> tuple[list[RequestedRecord], LeftOut]:
    """One run for each place of a line. Of several the whole report takes those of one content of the data set, that of
    most runs, so that arms stay paired."""

    def content(record: Record) -> tuple[str, ...]:
        weights = (f"{name}={sha}" for name, sha in sorted(record.spec.weights.items()))
        spec = record.spec  # the lists of two folds need not hold the same clips
        return spec.dataset, str(spec.fold), *map(str, opened(spec)), spec.content, *weights

    contents = Counter(content(one.record) for one in named)
    splits = Counter((one.record.spec.dataset, one.record.spec.split) for one in named)

    def rank(one: RequestedRecord) -> tuple[object, ...]:
        record, of = one.record, content(one.record)
        split = record.spec.dataset, record.spec.split
        return record.error is not None, -contents[of], of, -splits[split], split, record.key

    kept: dict[tuple[object, ...], RequestedRecord] = {}
    doubles = []
    for one in sorted(named, key=rank):
        if (*one.line, one.record.spec.seed) in kept:
            doubles.append((one.record.key, "in whose place stands another, of other content or other files,"))
        else:
            kept[*one.line, one.record.spec.seed] = one
    return list(kept.values()), doubles


def _run(one: RequestedRecord, store: Store, card: Card) -> Run:
    folder, request = RunFolder(one.found.path.parent), one.request
    noted = store.noted(folder)
    published = noted if noted.get("sha") == one.found.sha else {}
    arm = find_arm(request.arm)
    by = f"study {request.study}" if request.study else "a command"
    return Run(
        record=one.record,
        folder=folder.path,
        card=card,
        arm=arm.name,
        method=arm.method,
        values=request.tuning,
        settings=settings_in_words(one.variant[1]),
        tried=request.tried,
        searched=bool(arm.method.config.searches().keys() & _free(arm) - request.settings.keys()),
        tuned_by=request.tuned_by,
        search=request.search,
        request=by if request in one.found.requests else UNKNOWN,
        sha=one.found.sha,
        run_id=published.get("run_id"),
        experiment=published.get("experiment"),
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


def _in_order(runs: Sequence[Run], arms: Sequence[str]) -> list[Run]:
    """Runs by arm, then by data set as the registry has them (one's own behind, by name), fold and seed; of those in
    one place a clean run goes first."""
    known = list(DATASETS)

    def place(run: Run) -> tuple[object, ...]:
        dataset, fold, seed = cell_of(run)
        line = PROTOCOLS.index(run.record.spec.protocol), list(LABELS).index(run.values), run.record.preset
        where = known.index(dataset) if dataset in known else len(known), dataset, fold, seed
        return arms.index(run.arm), *where, *line, run.settings

    return sorted(runs, key=place)


def _told_apart(runs: Sequence[Run], by_hand: bool) -> list[Run]:
    """The runs with what tells their lines apart: whose values, where arms that could be searched have different ones;
    which preset; what was set by hand, if asked for; which protocol."""
    kinds = {run.values for run in runs if run.searched or run.values != "none"}
    presets = {run.record.preset for run in runs}
    found = []
    for run in runs:
        told = [LABELS[run.values] if len(kinds) > 1 and (run.searched or run.values != "none") else ""]
        told += [run.record.preset if len(presets) > 1 else "", run.settings if by_hand else "", flag(run.record.spec)]
        found.append(replace(run, apart="; ".join(text for text in told if text)))
    return found


def _values_in_words(runs: Sequence[Run], preset: str, settings: str, by_hand: bool) -> str:
    """A sentence for every caption: which preset, what was set by hand, and how which arms came by their values."""
    head = f"Preset {preset}{f' with {settings}' if settings else ''}"
    if by_hand:
        head += "; values that were set by hand stand in the names of lines"
    tuned = [run for run in runs if run.values != "none"]
    if not tuned:
        return f"{head}; values as the preset has them."
    most = max(run.tried for run in tuned)
    full = ", ".join(dict.fromkeys(run.tuned_by for run in tuned if run.values == "shared"))
    how: dict[Tuning, str] = {
        "per-arm": f"per-arm (searched on val for the arm itself, up to {most} configurations)",
        "shared": f"shared (as searched for {full})",
        "none": "untuned (as the preset has them)",
    }
    told = []
    for values, text in how.items():
        arms = dict.fromkeys(run.arm for run in runs if run.values == values and (run.searched or values != "none"))
        told += [f"{text}: {', '.join(arms)}"] if arms else []
    return f"{head}; values {'; '.join(told)}."


def settings_of(arms: Sequence[str], preset: str, given: Mapping[str, str]) -> Settings:
    """Return values set by hand as requests name them: those that differ from a preset, in the config's own form, a
    file by its sha256. `arms` are those whose configs may have the fields; one that none has is left out."""
    found: dict[str, str] = {}
    for name, text in by_content(arms, given).items():
        if (arm := _arm_with(arms, name)) is not None:
            config = configure(arm, preset, {name: text})
            found |= find_changes(arm.name, preset, config.model_dump(mode="json")) or ()
    return tuple(sorted(found.items()))


def by_content(arms: Sequence[str], given: Mapping[str, str]) -> dict[str, str]:
    """Values set by hand, a file by its sha256, so that they mean the same wherever the file is. Raises ConfigError."""
    found = dict(given)
    for name, text in given.items():
        if (arm := _arm_with(arms, name)) is not None and not _HASH.fullmatch(text):
            found |= contents_of(configure(arm, "quick", {name: text}))
    return found


def _arm_with(arms: Sequence[str], name: str) -> Arm | None:
    """The first arm that has a field and does not pin it."""
    return next((arm for arm in map(find_arm, arms) if name in _free(arm)), None)


def _free(arm: Arm) -> set[str]:
    """The fields of an arm's config that it does not pin."""
    return arm.method.config.model_fields.keys() - arm.overrides.keys()


def settings_in_words(settings: Settings) -> str:
    """Values set by hand as a person reads them; of a file's sha256 the start."""
    return ", ".join(f"{name}={value[:8] if _HASH.fullmatch(value) else value}" for name, value in settings)
