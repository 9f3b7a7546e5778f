"""Plain English: how docstrings begin, and words that no text of the project uses."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from pathlib import Path

import pytest

from tests.conftest import ROOT

FOLDERS = ("bench", "methods", "datasets", "studies", "reports", "tests", "docs")
OPENINGS = re.compile(
    "A|All|An|Any|Each|Every|Half|How|It|Its|No|Nobody|None|Not|Of|One|Some|That|The|Their|These|This|Those|Three|Two|"
    "What|When|Where|Whether|Which|Who|Whose|Why"
)
RETIRED = (
    r"abreast|alike|besides?|goes on|go on|gone on|going on|went on|lest|nobody|of which|of whose|in whose|"
    r"one's own|ones own|said|stands?|standing|stood|tells?|telling|told|whoever|(?:are|be|is|were) had|had from"
)
RETIRED_WORDS = re.compile(rf"(?<![\w-])(?:{RETIRED})(?![\w-])", re.IGNORECASE)
MIN_MESSAGE_WORDS = 3  # shorter strings are names and data
THIS_FILE = Path(__file__)


def list_files(*suffixes: str) -> list[Path]:
    """Return the files of the project that hold prose."""
    found = [path for path in ROOT.iterdir() if path.suffix in suffixes]
    found += [path for folder in FOLDERS for path in (ROOT / folder).rglob("*") if path.suffix in suffixes]
    return sorted(path for path in found if path != THIS_FILE and "golden" not in path.parts)


def read_prose(path: Path) -> list[tuple[int, str]]:
    """Return (line number, text) of comments, docstrings and messages of a module, or all lines of another file."""
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".py":
        return list(enumerate(text.splitlines(), 1))
    found = []
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        is_message = token.type in (tokenize.STRING, getattr(tokenize, "FSTRING_MIDDLE", -1))
        if token.type == tokenize.COMMENT or (is_message and len(token.string.split()) >= MIN_MESSAGE_WORDS):
            found += [(token.start[0] + offset, line) for offset, line in enumerate(token.string.splitlines())]
    return found


def begins_with_verb(docstring: str) -> bool:
    """Return whether a docstring may begin with a verb, as far as its first word shows it."""
    word = re.match("[A-Za-z]+", docstring)
    return word is not None and not OPENINGS.fullmatch(word[0])


def find_bad_openings(source: str) -> list[str]:
    """Return the names of a module's functions whose docstring does not begin with a verb."""
    functions = (
        node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )
    documented = [(node.name, docstring) for node in functions if (docstring := ast.get_docstring(node))]
    return [name for name, docstring in documented if not begins_with_verb(docstring)]


def find_retired_words(path: Path) -> list[str]:
    """Return "file:line: text" for each line of prose with a retired word."""
    where = path.relative_to(ROOT) if path.is_relative_to(ROOT) else path
    return [f"{where}:{number}: {line.strip()}" for number, line in read_prose(path) if RETIRED_WORDS.search(line)]


def test_docstrings_of_functions_begin_with_a_verb():
    found = {path: find_bad_openings(path.read_text()) for path in list_files(".py")}
    assert {str(path.relative_to(ROOT)): names for path, names in found.items() if names} == {}


def test_no_text_uses_a_retired_word():
    files = list_files(".py", ".md", ".html", ".js", ".css", ".tex", ".cff")
    assert len(files) > 100
    assert [line for path in files for line in find_retired_words(path)] == []


@pytest.mark.parametrize(
    "opening", ["What it does.", "The mean.", "(B, C) scores.", "Half of it.", "Nobody's business."]
)
def test_a_docstring_that_begins_otherwise_is_found(opening):
    assert find_bad_openings(f'def run():\n    """{opening}"""\n') == ["run"]
    assert find_bad_openings('def run():\n    """Return the mean."""\n') == []


@pytest.mark.parametrize(
    "line", ["# what is told", 'raise ValueError(f"{name} stands before the {word}")', '"""Go on with it."""']
)
def test_a_retired_word_is_found_in_comments_messages_and_docstrings(tmp_path, line):
    path = tmp_path / "module.py"
    path.write_text(f"{line}\n")
    assert find_retired_words(path)
