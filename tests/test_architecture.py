"""Tests of the architecture: allowed imports between folders, cheap imports, names and module counts."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields

import pytest

from bench.config import Config
from bench.types import AudioSpec, Sampling, VideoSpec
from methods import METHODS, VARIANTS
from tests.conftest import ROOT

ALLOWED_IMPORTS = {
    "bench": {"bench"},
    "methods": {"methods", "bench"},
    "datasets": {"datasets", "bench"},
    "reports": {"reports", "bench"},
    "studies": {"studies", "reports", "datasets", "methods", "bench"},
}
COMMON = {
    "modalities",
    "compile",
    "depth",
    "dropout",
    "heads",
    "mask",
    "patch",
    "recompute",
    "scale",
    "stem",
    "target",
    "tau",
    "width",
}
"""Fields of configs whose names are common words."""
PARTS = {"lexicon", "lexica", "cue", "cues", "verify", "verified", "verification", "senticnet", "nrc"}
"""Terms of MART's text processing, also searched as parts of names."""
FILES = [path for folder in ALLOWED_IMPORTS for path in sorted((ROOT / folder).rglob("*.py"))]


def imported(path: object) -> set[str]:
    tree = ast.parse(path.read_text())  # type: ignore[attr-defined]
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            names.add(node.module or "")
    return names


def test_imports_point_down():
    wrong = []
    for path in FILES:
        home = path.relative_to(ROOT).parts[0]
        ours = {name.split(".")[0] for name in imported(path)} & set(ALLOWED_IMPORTS)
        wrong += [f"{path} imports {name}" for name in ours - ALLOWED_IMPORTS[home]]
    assert len(FILES) > 90 and wrong == []


def words(text: str) -> Iterator[str]:
    """Yield every word and name of a text, and those parts of compound names that are in PARTS."""
    for word in re.findall(r"\w+", text):
        yield word
        yield from (part for part in re.sub(r"(?<=[a-z])(?=[A-Z])", "_", word).lower().split("_") if part in PARTS)


@pytest.mark.parametrize("folder", ["bench", "reports"])
def test_no_method_is_known_by_name_or_by_its_values(folder: str):
    from bench.training import TrainConfig

    ours = {
        field.name for kind in (Sampling, VideoSpec, AudioSpec, TrainConfig) for field in fields(kind)
    } | Config.model_fields.keys()
    values = {name for method in METHODS.values() for name in method.config.model_fields}
    known = {*METHODS, *VARIANTS, "E1", "E2", "E3", *PARTS, *(values - ours - COMMON)}
    found: dict[str, set[str]] = {}
    for path in sorted((ROOT / folder).rglob("*")):
        if path.suffix in (".py", ".js", ".css", ".json"):
            name = str(path.relative_to(ROOT))
            if matches := known.intersection(words(name + path.read_text())):
                found[name] = matches
    assert found == {}


def modules() -> dict[str, ast.Module]:
    """Return name -> syntax tree of every module."""
    names = {path: ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in FILES}
    return {name: ast.parse(path.read_text()) for path, name in names.items()}


def test_there_are_at_most_115_modules_with_code():
    assert len([path for path in FILES if path.name != "__init__.py"]) <= 115  # docs/decisions/0038-module-limit.md


def test_no_modules_import_each_other_in_a_circle():
    known = modules()
    arrows: dict[str, set[str]] = {}
    for name, tree in known.items():
        nodes = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
        named = {f"{node.module}.{alias.name}" for node in nodes for alias in node.names}
        arrows[name] = ({node.module or "" for node in nodes} | named) & known.keys() - {name}
    left = dict(arrows)
    while free := [name for name, to in left.items() if not to & left.keys()]:
        left = {name: to for name, to in left.items() if name not in free}
    assert left == {}


def test_imports_are_at_the_top_of_modules():
    inside = [
        ast.unparse(node)
        for tree in modules().values()
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef)
        for node in ast.walk(function)
        if isinstance(node, ast.Import | ast.ImportFrom)
    ]
    guarded = [
        node
        for tree in modules().values()
        for node in tree.body
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    ]
    assert len(inside) < 43 and len(guarded) < 10


def test_no_two_classes_have_one_name():
    names = [node.name for tree in modules().values() for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    assert sorted(names) == sorted(set(names))


def test_every_module_opens_with_a_sentence():
    wrong = []
    for path in FILES:
        doc = ast.get_docstring(ast.parse(path.read_text()))
        if not (doc and doc.split("\n\n")[0].rstrip().endswith((".", ":", "?"))):  # studies open with their question
            wrong.append(str(path))
    assert wrong == []


def test_no_module_of_ours_hides_an_installed_one():
    import importlib.metadata

    installed = {name for names in importlib.metadata.packages_distributions() for name in [names]}
    assert not ({"bench", "methods", "studies", "reports"} & installed)
    for folder in ALLOWED_IMPORTS:
        assert (ROOT / folder / "__init__.py").exists(), f"{folder}/ needs an __init__.py, or bench.py shadows it"


def loaded_by(code: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print('\\n'.join(sys.modules))"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return {name.split(".")[0] for name in done.stdout.split()}


def test_the_command_line_and_the_registries_load_nothing_heavy():
    loaded = loaded_by("import studies.cli.main, studies.requests, methods, datasets.registry")
    assert not loaded & {"torch", "mlflow", "optuna", "av", "sklearn", "pandas", "timm"}


def test_reports_load_no_torch():
    files = [path.relative_to(ROOT).with_suffix("") for path in sorted((ROOT / "reports").rglob("*.py"))]
    modules = [".".join(path.parts) for path in files if path.name != "__init__"]
    loaded = loaded_by("\n".join(f"import {name}" for name in modules))
    assert len(modules) > 20 and not loaded & {"torch", "mlflow", "optuna"}


def test_metrics_are_named_by_tasks_only():
    """Check that no module but those of tasks and metrics names a metric."""
    home = {"bench/tasks.py", "bench/metrics.py", "datasets/catalog/affwild2.py"}  # the last one selects a metric
    pattern = re.compile(r"\b(acc_e|f1_e|acc_s|f1_s|bal_e|acc7|acc2_non0|f1_non0)\b|[\"'/](mae|ccc)[\"']")
    found = [
        f"{path.relative_to(ROOT)}: {match.group()}"
        for folder in ALLOWED_IMPORTS
        for path in sorted((ROOT / folder).rglob("*.py"))
        if str(path.relative_to(ROOT)) not in home
        for match in pattern.finditer(path.read_text())
    ]
    assert found == []
