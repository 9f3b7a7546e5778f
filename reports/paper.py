"""The LaTeX document of a report: tables, figures, implementation details, and macros for numbers in running text.

Example of a macro: `\\fooEkmanAccE` is Acc E of a method `foo` on Ekman-6, as printed in the table of scores.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from functools import partial
from itertools import count, product
from pathlib import Path
from string import ascii_uppercase
from typing import NamedTuple

from bench.errors import StoreError
from bench.files import atomic_write
from bench.tasks import Metric
from bench.timing import sum_overhead_seconds
from reports.formats.latex import make_latex_environment
from reports.runs import HASH_LENGTH, Run, RunTable, SearchSummary, StudyResults, find_dataset_titles
from reports.tables.columns import MINUS, describe_single_fold, format_quantity, get_test_score, make_metric_column
from reports.tables.costs import SECONDS_PER_HOUR, compute_hours
from reports.types import Report

DIGIT_WORDS = ("Zero", "One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight", "Nine")
MACRO_ENDINGS = ("Std", "N")  # of the macros of a standard deviation and of a number of runs
APPENDED_LETTERS = ascii_uppercase.replace(MACRO_ENDINGS[1], "")
EPOCH_SENTENCES = {
    "clean": "Epochs were selected on a validation fold; each run was evaluated on the test list once, after training.",
    "refit": "Runs marked as refit also trained on the validation fold, for the number of epochs selected before.",
    "best-on-test": "Runs marked EPOCH CHOSEN ON TEST selected their epoch on the test list instead.",
}
"""Protocol -> its sentence in the implementation details."""

PAPER_SOURCE, PAPER_PDF = "paper.tex", "paper.pdf"
LATEX_TIMEOUT = 300  # seconds
LATEX_COMMANDS = {
    "pdflatex": ("-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "-output-directory"),
    "tectonic": ("--untrusted", "--outdir"),
}
TWO_PASS_COMMANDS = ("pdflatex",)  # the second pass resolves the labels


class Macro(NamedTuple):
    """A command that prints a number."""

    name: str  # letters only, without the backslash
    text: str  # as printed in the table of scores
    runs: str  # keys of the runs, and "(2/3 runs" where some lack the score


def render_document(report: Report) -> str:
    """Return the LaTeX document, which includes the other files of the report."""
    return make_latex_environment().get_template("paper.tex").render(report=report)


def render_details(paragraphs: Sequence[str]) -> str:
    """Return the implementation details as LaTeX, which the document includes."""
    return make_latex_environment().get_template("details.tex").render(paragraphs=paragraphs)


def render_macros(studies: Sequence[StudyResults], warnings: Sequence[str] = ()) -> str:
    """Return the macros, one per line, below the warnings.

    If two studies give one name to different numbers, the name of the later study is prepended to its macro. Digits
    in names of data sets and arms are spelt out if the names differ only in digits.
    """
    found: dict[str, Macro] = {}
    for study in studies:
        for macro in _list_macros(study.run_table):
            if found.get(macro.name, macro) != macro:
                name = f"{make_macro_name(study.name, first=False)}{make_macro_name(macro.name)}"
                macro = macro._replace(name=name)
            found.setdefault(macro.name, macro)
    lines = [" ".join(warning.split()) for warning in warnings]
    return make_latex_environment().get_template("macros.tex").render(macros=found.values(), warnings=lines)


def _list_macros(run_table: RunTable) -> Iterator[Macro]:
    """Yield the mean, standard deviation and number of runs of each cell of the table of scores."""
    titles = _make_distinct(
        [make_macro_name(title) for title in run_table.dataset_titles.values()],
        [make_macro_name(dataset, spelt=True) for dataset in run_table.dataset_titles],
    )
    names = _make_distinct(
        [make_macro_name(label, first=False) for label in run_table.labels],
        [make_macro_name(label, first=False, spelt=True) for label in run_table.labels],
    )
    for dataset, title in zip(run_table.dataset_titles, titles, strict=True):
        groups = run_table.group_by_label(dataset)
        metrics = run_table.tasks[dataset].shown
        for metric, short in zip(metrics, _make_metric_names(metrics), strict=True):
            for name, group, cell in zip(names, groups, make_metric_column(groups, metric), strict=True):
                number = group.compute_mean(partial(get_test_score, metric))
                if number is None:
                    continue
                text, _, missing = cell.text.partition(" (")
                mean, _, spread = text.replace(MINUS, "-").partition(" ± ")  # a macro may be used in mathematics
                runs = " ".join(number.run_keys) + (f" ({missing}" if missing else "")
                macro = Macro(f"{name}{title}{short}", mean, runs)
                yield macro
                if spread:
                    yield macro._replace(name=f"{macro.name}{MACRO_ENDINGS[0]}", text=spread)
                yield macro._replace(name=f"{macro.name}{MACRO_ENDINGS[1]}", text=str(len(number.values)))


def _make_metric_names(metrics: Sequence[Metric]) -> list[str]:
    """Return a name for each metric; those of single targets do not take the names of the others."""
    shared = [metric for metric in metrics if "/" not in metric.name]
    whole = {metric.name: make_macro_name(metric.title, spelt="-" in metric.title) for metric in shared}
    taken = {f"{name}{ending}" for name in whole.values() for ending in ("", *MACRO_ENDINGS)}
    each = [metric for metric in metrics if metric.name not in whole]
    plain, spelt = ([make_macro_name(metric.title, spelt=digits) for metric in each] for digits in (False, True))
    names = whole | dict(zip((metric.name for metric in each), _make_distinct(plain, spelt, taken), strict=True))
    return [names[metric.name] for metric in metrics]


def _make_distinct(names: Sequence[str], spelt: Sequence[str], taken: Collection[str] = ()) -> list[str]:
    """Make names unique: take the spelt name for duplicates, and append letters if that is a duplicate, or `taken`."""
    once = [other if names.count(name) > 1 else name for name, other in zip(names, spelt, strict=True)]
    used, found = {*once, *taken}, list[str]()
    for name in once:
        if once.count(name) > 1 or name in taken:
            endings = (ending for size in count(1) for ending in product(APPENDED_LETTERS, repeat=size))
            name = next(longer for ending in endings if (longer := name + "".join(ending)) not in used)
            used.add(name)
        found.append(name)
    return found


def make_macro_name(name: str, first: bool = True, spelt: bool = False) -> str:
    """Return the Latin letters of a name in camel case, as a command name; digits are dropped or `spelt`."""
    text = "".join(DIGIT_WORDS[int(sign)] if sign in "0123456789" else sign for sign in name) if spelt else name
    words = re.findall(r"[A-Za-z]+", text)
    joined = "".join(word[0].upper() + word[1:] for word in words) or "X"
    return joined if first else joined[0].lower() + joined[1:]


def describe_implementation(runs: Sequence[Run], searches: Sequence[SearchSummary], full: str) -> tuple[str, ...]:
    """Return the paragraphs on data and protocol, training, searches, machines and code, from the finished runs."""
    finished = [run for run in runs if not run.failed]
    if not finished:
        return ("No run has finished.",)
    paragraphs = [
        _describe_data(finished),
        _describe_training(finished, full),
        _describe_searches(searches),
        _describe_machines(finished, len(runs) - len(finished)),
    ]
    return tuple(text for text in paragraphs if text)


def _describe_data(runs: Sequence[Run]) -> str:
    datasets = []
    for name, title in find_dataset_titles(runs).items():
        here = [run for run in runs if run.record.spec.dataset == name]
        trained = _format_range(run.record.notes.get("clips/train") for run in here)
        tested = _format_range(run.record.scores.get("test/n") for run in here)
        folds = len({run.record.spec.fold for run in here})
        sizes = f"{f'{trained} clips for training and ' if trained else ''}{tested} for testing"
        datasets.append(
            f"{title} ({sizes}"
            f"{f', {folds} folds' if folds > 1 else ''.join(f', {text}' for text in describe_single_fold(here))})"
        )
    sample = (
        " The data are the built-in sample, not the real data sets." if any(_is_sample(run) for run in runs) else ""
    )
    seeds = sorted({run.record.spec.seed for run in runs})
    count = f"{len(seeds)} seeds ({', '.join(map(str, seeds))})" if len(seeds) > 1 else f"one seed ({seeds[0]})"
    seeds_of: dict[str, set[int]] = {}
    for run in runs:
        seeds_of.setdefault(f"{run.label} {run.record.spec.dataset} {run.record.spec.fold}", set()).add(
            run.record.spec.seed
        )
    complete = all(len(found) == len(seeds) for found in seeds_of.values())
    ran = "Every method was run with" if complete else "Methods were run with up to"
    return f"We used {'; '.join(datasets)}.{sample} {ran} {count}. {_describe_epoch_choice(runs)}"


def _describe_epoch_choice(runs: Sequence[Run]) -> str:
    """Return the sentences on the selection of epochs, one per protocol of the runs."""
    there = {run.record.spec.protocol for run in runs}
    return " ".join(text for protocol, text in EPOCH_SENTENCES.items() if protocol in there)


def _is_sample(run: Run) -> bool:
    return run.record.spec.data == "sample"


def _describe_training(runs: Sequence[Run], full: str) -> str:
    """Describe the hyper-parameters of the full method, or of the first arm that shows any."""
    arms = [full, *(run.arm for run in runs if _list_shown_fields(run)), runs[0].arm]
    mine = next(found for arm in arms if (found := [run for run in runs if run.arm == arm]))
    configs = [run.record.spec.config for run in mine]
    known = dict.fromkeys(name for run in mine for name in _list_shown_fields(run))
    values = [f"{name} {_join_values(config.get(name) for config in configs)}" for name in known]
    presets = _join_values(run.record.preset for run in runs)
    weights = sorted({f"{name} {sha[:HASH_LENGTH]}" for run in runs for name, sha in run.record.spec.weights.items()})
    files = f" Files (sha256): {', '.join(weights)}." if weights else " No published weights were loaded."
    return f"Preset {presets}; {mine[0].arm}: {', '.join(values) or 'no hyper-parameters'}.{files}"


def _list_shown_fields(run: Run) -> list[str]:
    """Return the config fields of a run that its method lists in `shown_fields`."""
    return [name for name in run.method.shown_fields if name in run.record.spec.config]


def _describe_searches(searches: Sequence[SearchSummary]) -> str:
    if not searches:
        return "No hyper-parameters were searched."
    sizes = _format_range(float(search.configurations_tried) for search in searches)
    samplers = _join_values(search.sampler for search in searches)
    pruners = _join_values(search.pruner for search in searches)
    several = "searches" if len(searches) > 1 else "search"
    return (
        f"Hyper-parameters were searched on validation folds ({len(searches)} {several} of {sizes} configurations, "
        f"sampler {samplers}, pruner {pruners}); the best configurations were run again with other seeds."
    )


def _describe_machines(runs: Sequence[Run], failed: int) -> str:
    def join(read: Callable[[Run], object]) -> str:
        return _join_values(str(read(run)) for run in runs)

    spent = sum(map(compute_hours, runs))
    overhead = sum(sum_overhead_seconds(run.record.seconds) for run in runs) / SECONDS_PER_HOUR
    lost = (
        f" {failed} {'runs' if failed > 1 else 'run'} failed and {'are' if failed > 1 else 'is'} not in any mean."
        if failed
        else ""
    )
    commits = join(lambda run: str(run.record.provenance.get("commit", "unknown"))[:HASH_LENGTH])
    torch = join(lambda run: run.record.provenance.get("torch", "unknown"))
    device = join(lambda run: run.record.provenance.get("device", "unknown"))
    processor = join(lambda run: run.record.provenance.get("processor", "unknown"))
    subject = "The finished run" if len(runs) == 1 else f"The {len(runs)} finished runs"
    dirty = sum(bool(run.record.provenance.get("dirty")) for run in runs)
    changed = f" with uncommitted changes ({dirty} of {len(runs)} runs)" if dirty else ""
    machine = f"on {device} ({processor}), with PyTorch {torch}, at commit {commits}{changed}"
    rest = f" Preparing data, logging and drawing took another {format_quantity(overhead)} hours." if overhead else ""
    return f"{subject} took {format_quantity(spent)} hours of training and scoring in total {machine}.{rest}{lost}"


def _join_values(values: Iterable[object]) -> str:
    return " / ".join(dict.fromkeys(f"{value:g}" if isinstance(value, float) else str(value) for value in values))


def _format_range(values: Iterable[float | None]) -> str:
    known = sorted({value for value in values if value is not None})
    if not known:
        return ""
    return f"{known[0]:,.0f}" if len(known) == 1 else f"{known[0]:,.0f} to {known[-1]:,.0f}"


def find_latex() -> str | None:
    """Return the installed LaTeX command: pdflatex, else tectonic, else None."""
    return next((name for name in LATEX_COMMANDS if shutil.which(name)), None)


def compile_paper(out: Path, latex: str) -> None:
    """Compile the document of a report to a PDF next to it, with all temporary files in another folder.

    Raises StoreError with LaTeX's first error message if the document cannot be compiled.
    """
    with tempfile.TemporaryDirectory() as name:
        command = [latex, *LATEX_COMMANDS[latex], name, PAPER_SOURCE]
        for _ in range(2 if latex in TWO_PASS_COMMANDS else 1):
            try:
                done = subprocess.run(command, cwd=out, capture_output=True, timeout=LATEX_TIMEOUT, check=False)
            except subprocess.TimeoutExpired:
                raise StoreError(
                    f"{latex} took more than {LATEX_TIMEOUT} s for {out / PAPER_SOURCE}; compile it by hand"
                ) from None
            if done.returncode:
                raise StoreError(
                    f"{latex} cannot compile {out / PAPER_SOURCE}: {_find_latex_error(done.stdout + done.stderr)}"
                )
        atomic_write(out / PAPER_PDF, (Path(name) / PAPER_PDF).read_bytes())


def _find_latex_error(output: bytes) -> str:
    """Return the first error line of LaTeX's output, or else its last line."""
    lines = output.decode(errors="replace").splitlines()
    errors = [line for line in lines if line.startswith(("!", "error:"))]
    return (errors or [line for line in lines if line.strip()][-1:] or ["no output"])[0]
