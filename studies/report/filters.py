"""Which runs are taken, as a person writes it: `dataset=ekman6,arm=mart*,seed=0`."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase

from bench.errors import ConfigError
from bench.names import look_up
from bench.record import Record

FIELDS = ("arm", "method", "dataset", "data", "preset", "protocol", "fold", "seed", "key")


@dataclass(frozen=True)
class Filter:
    """Terms that must all hold; each is a field and a pattern with *, ? and [...]."""

    terms: tuple[tuple[str, str], ...] = ()

    def takes(self, record: Record, arm: str) -> bool:
        """Whether a run, called `arm`, is taken."""
        spec = record.spec
        known = {"arm": arm, "method": spec.method, "dataset": spec.dataset, "data": spec.data}
        known |= {"preset": record.preset, "protocol": spec.protocol, "key": record.key}
        known |= {"fold": str(spec.fold), "seed": str(spec.seed)}
        return self.keeps(**known)

    def keeps(self, **known: str) -> bool:
        """Whether runs of which so much is known may be taken, as far as that decides."""
        return all(fnmatchcase(known[field], pattern) for field, pattern in self.terms if field in known)

    def __str__(self) -> str:
        return ", ".join(f"{field}={pattern}" for field, pattern in self.terms)


def parse_filter(text: str) -> Filter:
    """A filter from its text; raises ConfigError for what is no term, or for a field that is none."""
    terms = []
    for term in (part.strip() for part in text.split(",")):
        field, equals, pattern = (part.strip() for part in term.partition("="))
        if not equals or not pattern:
            raise ConfigError(
                f"--runs wants field=pattern with commas between, got '{term}'; for example dataset=ekman6"
            )
        terms.append((look_up(field, dict(zip(FIELDS, FIELDS, strict=True)), "field of --runs"), pattern))
    return Filter(tuple(terms))
