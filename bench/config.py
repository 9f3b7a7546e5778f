"""Typed configs with bounds and search ranges, and look-up by name.

Meaning, type, default, bounds and search range of a hyper-parameter are on one line.
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
    """The tail of an error message: the nearest known name, or all of them."""
    known = sorted(known)
    near = get_close_matches(name, known, n=1, cutoff=0.5)
    return f"did you mean '{near[0]}'?" if near else f"known: {', '.join(known)}"


def get_or_suggest(name: str, table: Mapping[str, T], kind: str) -> T:
    """The entry of `table` called `name`; raises ConfigError naming the nearest entry of this `kind`."""
    if name in table:
        return table[name]
    raise ConfigError(f"unknown {kind} '{name}'; {propose_name(name, table)}")


@dataclass(frozen=True)
class SearchRange:
    """The range a search draws a numeric field from, or the choices of a categorical one. `condition` tells whether the
    field changes a number beside the other values of a config; a field that does not is not searched.

    lr: Annotated[float, Search(1e-5, 1e-3, log=True)] = Field(2e-4, gt=0, description="peak step size")
    """

    low: float | None = None
    high: float | None = None
    log: bool = False
    choices: tuple[Any, ...] = ()
    condition: Callable[[Any], bool] = lambda config: True


class Config(BaseModel):
    """Base of every method's config. Defaults are the paper's values; a preset is a label for other values."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=False, allow_inf_nan=False)

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"paper": {}, "quick": {}}

    @classmethod
    def from_preset(cls, name: str) -> Self:
        """The config that a preset's name stands for; raises ConfigError for an unknown name."""
        return cls(**get_or_suggest(name, cls.presets, "preset"))

    def override(self, values: Mapping[str, Any]) -> Self:
        """A copy with other values, checked as if they had been typed; raises ConfigError in one line."""
        for name in values:
            if name not in type(self).model_fields:
                raise ConfigError(f"unknown config field '{name}'; {propose_name(name, type(self).model_fields)}")
        try:
            return type(self).model_validate({**self.model_dump(), **values})
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "config"
            raise ConfigError(
                f"config field '{where}': {first['msg'][0].lower()}{first['msg'][1:]}, got '{first['input']}'"
            ) from None

    def get_files(self) -> dict[str, Path]:
        """Field name -> file that the numbers depend on. A record names it by its content, never by its place."""
        return {}

    def get_search_ranges(self) -> dict[str, SearchRange]:
        """Field name -> search range, of those that change a number under this config's other values."""
        return {name: search for name, search in self.get_declared_ranges().items() if search.condition(self)}

    @classmethod
    def get_declared_ranges(cls) -> dict[str, SearchRange]:
        """Field name -> search range, for the fields that declare one."""
        return {
            name: item
            for name, info in cls.model_fields.items()
            for item in info.metadata
            if isinstance(item, SearchRange)
        }


def parse_overrides(items: list[str]) -> dict[str, str]:
    """`["epochs=2", "lr=1e-3"]` as a dict; raises ConfigError for an item without `=`."""
    values = {}
    for item in items:
        name, equals, value = item.partition("=")
        if not equals or not name.strip():
            raise ConfigError(f"--set wants name=value, got '{item}'; for example --set lr=0.001")
        values[name.strip()] = value.strip()
    return values


def hash_config_files(config: Config) -> dict[str, str]:
    """Field name -> sha256 of the file that it names. Raises ConfigError for one that cannot be read."""
    found = {}
    for name, path in config.get_files().items():
        try:
            found[name] = sha256(path)
        except OSError as error:
            raise ConfigError(
                f"config field '{name}': '{path}' is no name it knows, no file and no folder ({error.strerror})"
            ) from None
    return found
