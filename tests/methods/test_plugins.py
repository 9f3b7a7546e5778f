"""Methods from files and installed packages: what is registered, what is refused, and where modules are loaded."""

from __future__ import annotations

import logging
import pickle
import subprocess
import sys

import pytest

import methods
from bench.errors import ConfigError
from bench.method import Plugin, read_plugin
from bench.types import AudioSpec, Sampling, VideoSpec
from methods import METHODS, find_installed_methods, get_methods, register_plugins
from tests.conftest import ROOT

GOOD = '''"""A method without torch, which counts how often its file is executed."""

import builtins

from bench.config import Config
from bench.method import Method

builtins.executed = getattr(builtins, "executed", 0) + 1


class PlainConfig(Config):
    size: int = 8


def build(config, info):
    raise RuntimeError("built")


def fit(ctx):
    return ctx


PLAIN = ALSO = Method("plain", 1, "a plain method", PlainConfig, build, fit)
'''


@pytest.fixture(autouse=True)
def forget():
    yield
    register_plugins(())
    find_installed_methods.cache_clear()


def registered(text, name="plain.py"):
    register_plugins([Plugin(name, text)])
    return get_methods()["plain"]


def test_a_file_s_methods_are_registered_with_its_text_in_place_of_those_of_earlier_files():
    method = registered(GOOD)
    assert method.title == "a plain method" and method.plugin == Plugin("plain.py", GOOD)
    assert method.plugin_sha256 == method.plugin.sha256 and METHODS["mbt"].plugin_sha256 is None
    register_plugins([Plugin("other.py", GOOD.replace('"plain"', '"other"'))])
    assert "plain" not in get_methods() and "other" in get_methods()
    assert get_methods().keys() >= METHODS.keys() and "other" not in METHODS


def test_a_text_is_executed_once_in_a_process_and_two_texts_are_two_modules():
    import builtins

    text = f"{GOOD}# once\n"
    builtins.executed = 0
    first, second = registered(text), registered(text)
    assert builtins.executed == 1 and first.config is second.config
    edited = registered(f"{text}# edited\n")
    assert builtins.executed == 2 and edited.config is not first.config
    assert edited.plugin.module_name != first.plugin.module_name


def test_a_built_in_method_that_a_file_imports_is_not_registered_again():
    method = registered(f"from methods.mbt.config import MBT\n{GOOD}")
    assert method.name == "plain" and get_methods()["mbt"] is METHODS["mbt"]
    with pytest.raises(ConfigError, match="defines no method"):
        register_plugins([Plugin("only.py", "from methods.mbt.config import MBT\n")])


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("x = 1\n", ("bad.py", "defines no method", "Method(")),
        ("", ("bad.py", "defines no method")),
        ("\n\ndef f(:\n", ("bad.py, line 3", "SyntaxError")),
        ("x = 1\ny = z\n", ("bad.py, line 2", "NameError", "'z'")),
        ("def f():\n    return 1 / 0\n\n\nf()\n", ("bad.py, line 2", "ZeroDivisionError")),
        ("import json\njson.loads('{')\n", ("bad.py, line 2", "JSONDecodeError")),
        ("import no_such_package\n", ("bad.py, line 1", "no_such_package", "install it")),
        ("import sys\nsys.exit('enough')\n", ("bad.py, line 2", "SystemExit", "enough")),
        ("raise ValueError('two\\nlines')\n", ("bad.py, line 1", "ValueError: two lines")),
        ("x = '\0'\n", ("bad.py", "null bytes")),
        (GOOD.replace('"plain"', '"mbt"'), ("bad.py", "'mbt'", "built-in")),
        (GOOD.replace('"plain"', '"mbt-video"'), ("bad.py", "'mbt-video'", "built-in")),
        (GOOD.replace('"plain"', '"a,b"'), ("bad.py", "'a,b'", "letters")),
        (GOOD.replace('"plain"', "[3]"), ("bad.py", "[3]", "no name")),
        (GOOD.replace('"plain", 1', '"plain", "1"'), ("bad.py", "version", "'1'", "a whole number")),
        (GOOD.replace("PlainConfig, build", "dict, build"), ("bad.py", "config", "derived from Config")),
        (GOOD.replace("build, fit)", "build, None)"), ("bad.py", "fit", "None", "FitContext")),
        (GOOD.replace("fit)", "fit, tasks=())"), ("bad.py", "tasks", "Classification")),
        (f'{GOOD}TWO = Method("plain", 2, "again", PlainConfig, build, fit)\n', ("bad.py", "two methods", "'plain'")),
    ],
)
def test_a_file_that_cannot_be_used_is_one_line_with_file_and_line(text, parts):
    before, modules = get_methods(), set(sys.modules)
    with pytest.raises(ConfigError) as raised:
        register_plugins([Plugin("bad.py", text)])
    message = str(raised.value)
    assert message.startswith("--plugin bad.py") and "\n" not in message and all(part in message for part in parts)
    assert get_methods() == before
    if ", line " in message:
        assert not any(name.startswith("plugin_bad") for name in set(sys.modules) - modules)


def test_two_files_with_one_name_of_a_method_are_refused():
    with pytest.raises(ConfigError, match=r"two\.py: there are two methods named 'plain' \(one\.py\)"):
        register_plugins([Plugin("one.py", GOOD), Plugin("two.py", f"{GOOD}# 2\n")])


def test_a_file_that_cannot_be_read_is_one_line(tmp_path):
    (tmp_path / "odd.py").write_bytes(b"\xff\xfe\x00")
    for name, reason in (("missing.py", "No such file"), (".", "directory"), ("odd.py", "UTF-8")):
        with pytest.raises(ConfigError, match=reason):
            read_plugin(tmp_path / name)
    (tmp_path / "bom.py").write_bytes(b"\xef\xbb\xbfx = 1\r\n")
    assert read_plugin(tmp_path / "bom.py") == Plugin("bom.py", "x = 1\r\n")


def test_functions_and_configs_of_a_file_are_pickled_by_the_name_of_its_module():
    method = registered(GOOD)
    packed = pickle.dumps((method.plugin, pickle.dumps((method, method.config(size=9)))))
    code = f"""
import pickle
plugin, inner = pickle.loads({packed!r})
plugin.load()
method, config = pickle.loads(inner)
assert method.fit(config).size == 9 and method.plugin == plugin
try:
    method.build(None, None)
except RuntimeError:
    import traceback
    assert 'raise RuntimeError("built")' in traceback.format_exc()
"""
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_the_default_sampling_takes_the_sizes_of_the_config():
    method = registered(GOOD)
    assert method.sampling(method.config(), True) == Sampling(6, VideoSpec(4, 5, 8), AudioSpec(32), True)


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Return a function that installs a package: the text of its module, and its entry points."""

    def make(text, **entries):
        info = tmp_path / "my_methods-1.5.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-methods\nVersion: 1.5\n")
        lines = [f"{name} = {value}" for name, value in entries.items()]
        (info / "entry_points.txt").write_text("\n".join(["[mart_bench.methods]", *lines, ""]))
        (tmp_path / "my_methods.py").write_text(text)
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.delitem(sys.modules, "my_methods", raising=False)
        find_installed_methods.cache_clear()

    yield make
    sys.modules.pop("my_methods", None)


def test_an_entry_point_registers_methods_marked_with_module_package_and_text(install):
    text = f'{GOOD}MORE = (Method("second", 1, "another", PlainConfig, build, fit),)\n'
    install(text, plain="my_methods:PLAIN", more="my_methods:MORE")
    found = find_installed_methods()
    assert found.keys() == {"plain", "second"} and get_methods().keys() >= found.keys()
    assert {method.plugin for method in found.values()} == {Plugin("my_methods", text, "my-methods 1.5")}
    assert found["plain"].plugin.load() is sys.modules["my_methods"]
    with pytest.raises(ConfigError, match=r"two methods named 'plain' \(my-methods 1\.5\)"):
        register_plugins([Plugin("plain.py", GOOD)])


@pytest.mark.parametrize(
    ("text", "value", "reason"),
    [
        (GOOD, "my_methods:MISSING", "AttributeError"),
        (GOOD, "no_such_module:PLAIN", "no_such_module"),
        (GOOD, "my_methods:build", "not a Method"),
        (f"{GOOD}NONE = ()\n", "my_methods:NONE", "not a Method"),
        ("raise SystemExit('enough')\n", "my_methods:PLAIN", "SystemExit: enough"),
        ("x = (\n", "my_methods:PLAIN", "SyntaxError"),
        (GOOD.replace('"plain"', '"mart"'), "my_methods:PLAIN", "built-in"),
    ],
)
def test_a_broken_entry_point_is_one_warning_and_breaks_nothing_else(install, caplog, text, value, reason):
    install(text, odd=value, plain="my_methods:PLAIN")
    with caplog.at_level(logging.WARNING):
        found = get_methods()
    lines = [record.getMessage() for record in caplog.records if "'odd'" in record.getMessage()]
    assert len(lines) == 1 and reason in lines[0] and "my-methods 1.5" in lines[0] and "\n" not in lines[0]
    assert found.keys() - {"plain"} == METHODS.keys()
    assert ("plain" in found) == (text.startswith(GOOD))


def test_the_help_scans_no_entry_points(install, tmp_path):
    install("raise SystemExit('scanned')\n", odd="my_methods:PLAIN")
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); from studies.cli.main import main; main(['--help'])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "scanned" not in done.stdout + done.stderr and "--plugin" in done.stdout
    listed = code.replace("'--help'", "'list', 'methods'")
    done = subprocess.run([sys.executable, "-c", listed], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stderr.count("\n") == 1 and "entry point 'odd' of my-methods 1.5 is skipped" in done.stderr
    assert "mbt" in done.stdout


def test_no_package_of_the_environment_registers_a_method():
    assert find_installed_methods() == {} and methods._added == {}
