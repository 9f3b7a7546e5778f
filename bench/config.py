"""Typed configs with bounds and search ranges, and look-up by name.

One line declares the meaning, type, default, bounds and search range of a hyper-parameter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from bench.errors import ConfigError
from bench.files import sha256

T = TypeVar("T")


def propose_name(name: str, known: Iterable[str]) -> str:
    """Return the end of an error message: the closest known name, or a list of all known names."""
    known = sorted(known)
    closest = get_close_matches(name, known, n=1, cutoff=0.5)
    return f"did you mean '{closest[0]}'?" if closest else f"known: {', '.join(known)}"


def get_or_suggest(name: str, table: Mapping[str, T], kind: str) -> T:
    """Return `table[name]`. Raises ConfigError with the closest known name; `kind` is the noun of the message."""
    if name in table:
        return table[name]
    raise ConfigError(f"unknown {kind} '{name}'; {propose_name(name, table)}")


@dataclass(frozen=True)
class SearchRange:
    """Search range of a numeric config field, or the choices of a categorical one.

    `condition(config)` returns whether the field has an effect given the other values of the config; a field without
    effect is not searched. Example:

    lr: Annotated[float, SearchRange(1e-5, 1e-3, log=True)] = Field(2e-4, gt=0, description="peak learning rate")
    """

    low: float | None = None
    high: float | None = None
    log: bool = False
    choices: tuple[Any, ...] = ()
    condition: Callable[[Any], bool] = lambda config: True


class Config(BaseModel):
    """Base class of the configs of methods. Defaults are the paper's values; a preset overrides some of them."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=False, allow_inf_nan=False)

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"paper": {}, "quick": {}}

    @classmethod
    def from_preset(cls, name: str) -> Self:
        """Return the config of a preset. Raises ConfigError if there is no preset of that name."""
        return cls(**get_or_suggest(name, cls.presets, "preset"))

    def override(self, values: Mapping[str, Any], source: str = "") -> Self:
        """Return a copy with other values, parsed from text where needed.

        Raises ConfigError for an unknown field or an invalid value; its message begins with `source`, e.g. "--set"."""
        for name in values:
            if name not in type(self).model_fields:
                raise ConfigError(f"unknown config field '{name}'; {propose_name(name, type(self).model_fields)}")
        try:
            return type(self).model_validate({**self.model_dump(), **values})
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(map(str, first["loc"])) or "config"
            reason = first["msg"].replace("Input should", "must").partition(", unable to ")[0]
            place = f"{source} {field}".lstrip()
            raise ConfigError(f"{place}: {reason[0].lower()}{reason[1:]}, got '{first['input']}'") from None

    def get_files(self) -> dict[str, Path]:
        """Return field name -> file that the scores depend on. Records store the hash of its content, not its path."""
        return {}

    def get_search_ranges(self) -> dict[str, SearchRange]:
        """Return field name -> search range, for the fields that have an effect given this config's other values."""
        return {name: search for name, search in self.get_declared_ranges().items() if search.condition(self)}

    @classmethod
    def get_declared_ranges(cls) -> dict[str, SearchRange]:
        """Return field name -> search range, for the fields that declare one."""
        return {
            name: item
            for name, info in cls.model_fields.items()
            for item in info.metadata
            if isinstance(item, SearchRange)
        }


def parse_overrides(items: list[str]) -> dict[str, str]:
    """Parse `["epochs=2", "lr=1e-3"]` into a dict. Raises ConfigError for an item without `=`."""
    values = {}
    for item in items:
        name, equals, value = item.partition("=")
        if not equals or not name.strip():
            raise ConfigError(f"--set: expected name=value, got '{item}'; for example --set lr=0.001")
        values[name.strip()] = value.strip()
    return values


def hash_config_files(config: Config) -> dict[str, str]:
    """Return field name -> sha256 of the file that it names. Raises ConfigError if the file cannot be read."""
    hashes = {}
    for name, path in config.get_files().items():
        try:
            hashes[name] = sha256(path)
        except OSError as error:
            raise _make_file_error(name, path, error) from None
    return hashes


def check_config_files(config: Config) -> None:
    """Raise ConfigError if a file that a config names cannot be opened. No content is read."""
    for name, path in config.get_files().items():
        try:
            if not path.is_dir():
                path.open("rb").close()
        except OSError as error:
            raise _make_file_error(name, path, error) from None


def _make_file_error(name: str, path: Path, error: OSError) -> ConfigError:
    missing = isinstance(error, FileNotFoundError)
    reason = "no such file or folder" if missing else f"cannot be read ({error.strerror})"
    return ConfigError(
        f"{name}: {reason}: '{path}'; set a path or a known name with --set {name}=..., see docs/weights.md"
    )
