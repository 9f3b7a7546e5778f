"""Command line: `python bench.py --method mart --dataset ekman6`.

This file keeps to the syntax of old Python versions, so that they print a helpful error, too.
"""
# ruff: noqa: SIM905, UP031, UP036

import os
import sys

FOLDER = os.path.dirname(os.path.abspath(__file__))
# Import names of the dependencies in pyproject.toml. Any other missing module is a bug, and keeps its traceback.
REQUIRED = (
    "torch torchvision torchaudio timm transformers lightning_fabric einops jaxtyping safetensors numpy av PIL "
    "pydantic typer rich mlflow pandas pyarrow sklearn matplotlib jinja2 pylatexenc nltk senticnet nrclex filelock "
    "optuna sqlalchemy tenacity psycopg psutil pynvml scipy statsmodels scikit_posthocs"
).split()


def describe_environment(reason):
    """Return an error line: how to activate the environment next to this file, or how to install it."""
    venv, is_here = os.path.join(FOLDER, ".venv"), os.path.realpath(os.getcwd()) == os.path.realpath(FOLDER)
    activate = "`source %s`" % os.path.join(".venv" if is_here else venv, "bin", "activate")
    make = "make" if is_here else "make -C %s" % FOLDER
    if os.path.realpath(sys.prefix) == os.path.realpath(venv):
        return "error: the environment is incomplete (%s); run `%s clean .venv/installed`\n" % (reason, make)
    if os.path.exists(os.path.join(venv, "bin", "activate")):
        return "error: the environment is not active (%s); run %s\n" % (reason, activate)
    return "error: no environment is installed (%s); run `%s .venv/installed`, then %s\n" % (reason, make, activate)


if __name__ == "__main__":
    if sys.version_info < (3, 11):
        sys.stderr.write(describe_environment("Python 3.11 is needed, this is %d.%d" % sys.version_info[:2]))
        sys.exit(2)
    if FOLDER not in sys.path:  # as with python -I
        sys.path.insert(0, FOLDER)
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # torch then uses huge pages: fewer page faults
    try:
        from studies.cli.main import main

        sys.exit(main())
    except ModuleNotFoundError as error:
        from importlib.util import find_spec

        package = (error.name or "").split(".")[0]
        if package not in REQUIRED or find_spec(package) is not None:  # a part of an installed package is missing
            raise
        sys.stderr.write(describe_environment("package '%s' is missing" % error.name))
        sys.exit(2)
