"""Read commands, links and code blocks from the README and docs/ for tests."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from bench.method import Method, Plugin
from methods import get_methods, register_plugins
from tests.conftest import ROOT

README = ROOT / "README.md"
PAGES = (
    README,
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    *sorted((ROOT / "docs").glob("*.md")),
)
SKIP_MARK = re.compile(r"needs (?P<what>.+)")
EXIT_MARK = re.compile(r"exit (?P<code>\d+)(: (?P<message>.*))?")
PLACEHOLDER = re.compile(r"\b(DIR|FILE|FOLDER|HEAD|KEY|NAME)\b")
COMMAND = re.compile(r"^(?: {4})?((?:[A-Z_]+=\S+ )*python bench\.py .*)$")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
SOURCE_PATH = re.compile(r"`((?:bench|methods|datasets|studies|reports|tests|docs)/[\w/-]+\.\w+)`")


@dataclass(frozen=True)
class DocumentedCommand:
    """A command line of a page and the comment after it.

    A comment `# needs ...` or a placeholder in capitals (DIR, FILE, KEY ...) marks a command that cannot run on the
    built-in sample; `# exit 2: text` one that fails with this exit code and a message that contains the text.
    """

    page: str
    text: str
    comment: str = ""

    @property
    def words(self) -> list[str]:
        """Return the arguments after `bench.py`."""
        words = shlex.split(self.text)
        return words[words.index("bench.py") + 1 :]

    @property
    def runs_anywhere(self) -> bool:
        """Return whether the command needs no data, GPU, server or file that the reader must supply."""
        return not (SKIP_MARK.match(self.comment) or PLACEHOLDER.search(self.text) or self.words[:1] == ["ui"])

    @property
    def expected_exit(self) -> tuple[int, str]:
        """Return the exit code and a part of the message."""
        found = EXIT_MARK.match(self.comment)
        return (int(found["code"]), found["message"] or "") if found else (0, "")


def read_commands(page: Path, *, inline: bool = False) -> list[DocumentedCommand]:
    """Return the commands of a page in their order: lines of code blocks, and with `inline` those in running text."""
    text = re.sub(r" *\\\n\s*", " ", page.read_text(encoding="utf-8"))
    commands = []
    for line in text.splitlines():
        if found := COMMAND.match(line):
            command, _, comment = re.sub(r"\s{2,}(?=[^\s#])", " # ", found[1]).partition(" #")
            commands.append(DocumentedCommand(page.name, command.strip(), comment.strip()))
        elif inline:
            spans = re.findall(r"`(python bench\.py [^`]+)`", line)
            commands += [DocumentedCommand(page.name, span) for span in spans]
    return commands


def read_links(page: Path) -> list[str]:
    """Return the targets of links to files and headings; links to other sites are left out."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    return [target for target in LINK.findall(text) if "://" not in target and not target.startswith("mailto:")]


def list_anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub makes of a page's headings."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    titles = re.findall(r"^#+ +(.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


def find_missing_target(page: Path, target: str) -> str:
    """Return why a link leads nowhere, or an empty string."""
    path, _, anchor = target.partition("#")
    file = (page.parent / path).resolve() if path else page
    if not file.exists():
        return f"{page.name}: no file {path}"
    if anchor and anchor not in list_anchors(file):
        return f"{page.name}: no heading #{anchor} in {file.name}"
    return ""


def read_plugins() -> dict[str, Plugin]:
    """Return the files of custom methods that the README and docs/methods.md show, by name."""
    pages = {"loudness.py": README, "recurrent.py": ROOT / "docs" / "methods.md"}
    codes = {
        name: re.findall(r"```python\n(.*?)```", page.read_text("utf-8"), re.DOTALL) for name, page in pages.items()
    }
    return {name: Plugin(name, code) for name, (code,) in codes.items()}


def load_methods() -> dict[str, Method]:
    """Return the custom methods of the documentation, loaded as `--plugin` does it, by name."""
    plugins = read_plugins()
    register_plugins(plugins.values())
    found = {method.name: method for method in get_methods().values() if method.plugin in plugins.values()}
    register_plugins(())
    return found
