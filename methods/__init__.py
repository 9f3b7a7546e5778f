"""Registry of methods, and of named variants: a method with some config values fixed.

An entry refers to its training code by name; the code is imported on first call, so that listing methods loads no
PyTorch. Methods of other people are registered from the files given with `--plugin`, and from installed packages with
an entry point in the group `mart_bench.methods`.
"""

from __future__ import annotations

import inspect
import logging
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path

from bench.config import Config
from bench.errors import ConfigError
from bench.method import Method, Plugin
from bench.tasks import Task
from methods.baselines import FEATURE_PROBE, MAJORITY, PROBE
from methods.mart.config import MART, MART_RELEASED
from methods.mbt.config import MBT

METHODS: dict[str, Method] = {
    method.name: method for method in (MAJORITY, PROBE, FEATURE_PROBE, MBT, MART, MART_RELEASED)
}


@dataclass(frozen=True)
class Variant:
    """Named variant of a method: the config values that it fixes, and its one-line title."""

    method: str
    overrides: Mapping[str, object]
    title: str


VARIANTS: dict[str, Variant] = {
    "mbt-long": Variant(
        "mart",
        {"mask": "none", "verify": "none", "w_tacl": 0.0, "w_cue": 0.0},
        "MBT trained as long as MART, with the label loss only (control)",
    ),
    "mbt-video": Variant("mbt", {"modalities": "video"}, "MBT on video only"),
    "mbt-audio": Variant("mbt", {"modalities": "audio"}, "MBT on audio only"),
    "mart-video": Variant("mart", {"modalities": "video"}, "MART on video only"),
    "mart-audio": Variant("mart", {"modalities": "audio"}, "MART on audio only"),
    "mart-no-masking": Variant("mart", {"mask": "none"}, "MART, no masking and no recovery"),
    "mart-no-verification": Variant("mart", {"verify": "none"}, "MART without verification of cues"),
    "mart-sentiment-only": Variant("mart", {"verify": "sentiment"}, "MART, cues verified by sentiment only (E1)"),
    "mart-emotion-only": Variant("mart", {"verify": "emotion"}, "MART, cues verified up to emotion (E1, E2)"),
    "mart-mask-frame": Variant(
        "mart", {"mask": "frame", "mask_from": 0.4, "mask_to": 0.4}, "MART, frame masking: 40 % of the time steps"
    ),
    "mart-mask-random": Variant(
        "mart", {"mask": "random", "mask_from": 0.9, "mask_to": 0.9}, "MART, random masking: 90 % of the tokens"
    ),
    "mart-mask-tube": Variant(
        "mart",
        {"mask": "tube", "mask_from": 0.95, "mask_to": 0.95},
        "MART, tube masking: 95 % of the positions (quick: --set patch=12 --set audio_patch=16)",
    ),
    "mart-mask-attention": Variant("mart", {"mask": "attention"}, "MART, masking by class-token attention"),
    "mart-target-kl": Variant("mart", {"target": "kl"}, "MART, recovery of the emotion distribution only"),
    "mart-target-pixel": Variant("mart", {"target": "pixel"}, "MART, recovery of pixels and log-mel patches only"),
    "mart-target-hog": Variant("mart", {"target": "hog"}, "MART, recovery of HOG features of the frames only"),
    "mart-target-clip": Variant(
        "mart",
        {"target": "clip"},
        "MART, recovery of features of an image-text teacher (--set weights_teacher=FILE)",
    ),
}

ENTRY_POINTS = "mart_bench.methods"
_NAME_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_added: dict[str, Method] = {}  # methods of the plugins of this process


def get_methods() -> dict[str, Method]:
    """Return all methods by name: the built-in ones, those of installed packages, and those of plugins."""
    return {**METHODS, **find_installed_methods(), **_added}


def register_plugins(plugins: Iterable[Plugin]) -> None:
    """Load plugins, and replace the methods of all earlier ones by theirs.

    Raises ConfigError for a file that cannot be loaded or has no method, and for a name that is taken.
    """
    found: dict[str, Method] = {}
    for plugin in plugins:
        module = plugin.load()
        built_in = set(map(id, METHODS.values()))  # a file may import and vary them
        values = [value for value in vars(module).values() if isinstance(value, Method)]
        ours = {id(value): value for value in values if id(value) not in built_in}  # each once
        if not ours:
            raise ConfigError(
                f"--plugin {plugin.name}: defines no method; add a line such as MINE = Method(...), see "
                "docs/methods.md#custom-methods"
            )
        for method in ours.values():
            _check_method(method, f"--plugin {plugin.name}", {**find_installed_methods(), **found})
            found[method.name] = replace(method, plugin=plugin)
    _added.clear()
    _added.update(found)


@cache
def find_installed_methods() -> dict[str, Method]:
    """Return the methods of installed packages. An entry point that is broken is skipped with a warning."""
    found: dict[str, Method] = {}
    for entry in entry_points(group=ENTRY_POINTS):
        package = f"{entry.dist.name} {entry.dist.version}" if entry.dist is not None else "an unknown package"
        try:
            for method in _mark_methods(entry.load(), entry.value, package):
                _check_method(method, entry.value, found)
                found[method.name] = method
        except (Exception, SystemExit) as error:  # whatever it imports may raise anything
            reason = " ".join(f"{type(error).__name__}: {error}".split()).removeprefix("ConfigError: ")
            logging.getLogger(__name__).warning("entry point '%s' of %s is skipped: %s", entry.name, package, reason)
    return found


def _mark_methods(value: object, name: str, package: str) -> list[Method]:
    """Return the methods that the entry point "module:NAME" names, marked with the text of the module."""
    methods = list(value) if isinstance(value, tuple | list) else [value]
    if not methods or not all(isinstance(method, Method) for method in methods):
        raise ConfigError(f"{name} is {value!r:.80}, not a Method or a tuple of them")
    module = name.partition(":")[0].strip()
    source = inspect.getsourcefile(import_module(module))
    if source is None:
        raise ConfigError(f"{module} has no source file")
    plugin = Plugin(module, Path(source).read_text(encoding="utf-8"), package)
    return [replace(method, plugin=plugin) for method in methods if isinstance(method, Method)]


def _check_method(method: Method, where: str, others: Mapping[str, Method]) -> None:
    """Check a method that is not built in. Raises ConfigError for a field of a wrong type or a name that is taken."""
    name = method.name
    if not (isinstance(name, str) and _NAME_PATTERN.fullmatch(name)):
        raise ConfigError(f"{where}: {name!r:.80} is no name of a method; use letters, digits, dots, dashes, _")
    if name in METHODS or name in VARIANTS:
        raise ConfigError(f"{where}: '{name}' is the name of a built-in method; choose another one")
    if name in others:
        plugin = others[name].plugin
        of = f" ({plugin.distribution or plugin.name})" if plugin is not None else ""
        raise ConfigError(f"{where}: there are two methods named '{name}'{of}; rename one")
    config, tasks = method.config, method.tasks if isinstance(method.tasks, tuple) else ()
    kinds = bool(tasks) and all(isinstance(task, type) and issubclass(task, Task) for task in tasks)
    for field, valid, expected in (
        ("version", isinstance(method.version, int), "a whole number"),
        ("title", isinstance(method.title, str), "a text"),
        ("config", isinstance(config, type) and issubclass(config, Config), "a class derived from Config"),
        ("build", callable(method.build), "a function of the config and the DatasetInfo"),
        ("fit", callable(method.fit), "a function of the FitContext"),
        ("sampling", callable(method.sampling), "a function of the config and whether it is for training"),
        ("tasks", kinds, "a tuple of Classification and Regression"),
    ):
        if not valid:
            raise ConfigError(f"{where}: {field} of method '{name}' is {getattr(method, field)!r:.60}; use {expected}")
