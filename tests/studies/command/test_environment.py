"""`bench.py` run by a Python without the environment: one line, exit code 2; bugs keep their traceback."""

import ast
import re
import runpy
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions

import pytest

from tests.conftest import ROOT

BARE = (sys._base_executable, "-I", "-S")  # only the standard library


def run(folder, *words, python=BARE, cwd=None):
    done = subprocess.run(
        [*python, str(folder / "bench.py"), *words], cwd=cwd or folder, capture_output=True, text=True, timeout=120
    )
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def checkout(tmp_path):
    """Copy bench.py next to a command line whose first import fails, without an environment."""
    shutil.copy(ROOT / "bench.py", tmp_path)
    (tmp_path / "studies" / "cli").mkdir(parents=True)
    (tmp_path / "studies" / "cli" / "main.py").write_text("import typer\n")
    return tmp_path


def one_line(answer, *parts):
    code, out, err = answer
    assert (code, out) == (2, "") and err.count("\n") == 1 and err.startswith("error: "), answer
    assert all(part in err for part in parts), err
    return True


def test_without_an_environment_it_prints_how_to_install_one(checkout):
    assert one_line(run(checkout), "'typer' is missing", "`make .venv/installed`", "`source .venv/bin/activate`")


def test_with_an_environment_it_prints_how_to_activate_it(checkout, tmp_path_factory):
    (checkout / ".venv" / "bin").mkdir(parents=True)
    (checkout / ".venv" / "bin" / "activate").write_text("")
    assert one_line(run(checkout, "--help"), "is not active", "run `source .venv/bin/activate`")
    elsewhere = run(checkout, cwd=tmp_path_factory.mktemp("elsewhere"))
    assert one_line(elsewhere, f"run `source {checkout}/.venv/bin/activate`")
    assert "make" not in elsewhere[2]


def test_the_real_command_line_without_packages_prints_one_line():
    assert one_line(run(ROOT, "list"), "package '", "is missing", ".venv")


@pytest.mark.parametrize("line", ["import studies.clo", "import trch", "1 / 0", "from os import nothing"])
def test_an_error_in_the_code_keeps_its_traceback(checkout, line):
    (checkout / "studies" / "cli" / "main.py").write_text(line + "\n")
    code, _, err = run(checkout)
    assert code == 1 and "Traceback" in err and line in err


def test_a_missing_part_of_an_installed_package_keeps_its_traceback(checkout):
    (checkout / "studies" / "cli" / "main.py").write_text("import numpy.nothing\n")
    code, _, err = run(checkout, python=(sys.executable,))
    assert code == 1 and "Traceback" in err and "numpy.nothing" in err


@pytest.mark.parametrize("version", ["2.7", "3.6", "3.8", "3.10"])
def test_an_old_python_is_named(checkout, version):
    python = shutil.which(f"python{version}")
    if python is None:
        pytest.skip(f"python{version} is not installed")
    done = run(checkout, python=(python,))
    if "pyenv" in done[2] or done[0] == 127:
        pytest.skip(f"python{version} is not installed")
    assert one_line(done, f"Python 3.11 is needed, this is {version}")


def test_its_syntax_is_that_of_old_versions():
    ast.parse((ROOT / "bench.py").read_text(), feature_version=(3, 4))


def test_every_dependency_is_in_the_list_of_required_modules():
    required = set(runpy.run_path(str(ROOT / "bench.py"))["REQUIRED"])
    names = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    wanted = {re.split(r"[\[<>=]", name)[0].lower().replace("_", "-") for name in names}
    modules = packages_distributions()
    assert required <= modules.keys()
    assert wanted <= {name.lower().replace("_", "-") for module in required for name in modules[module]}
