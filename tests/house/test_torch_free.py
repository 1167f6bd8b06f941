"""An artifact loads and answers where the training side cannot even be imported."""

import json
import subprocess
import sys

import pytest

import tinybert

BLOCKED = ("torch", "transformers", "onnx", "datasets", "sklearn", "pydantic")
TEXTS = ("late parcel", "please help my card")

WALL = """
import sys

class Wall:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in BLOCKED:
            raise ImportError(f"{name} is blocked here")

def loaded():
    return [name for name in sys.modules if name.split(".")[0] in BLOCKED]

sys.meta_path.insert(0, Wall())
"""


def run(code, *arguments, blocked=BLOCKED):
    whole = f"BLOCKED = {blocked}\n{WALL}\n{code}"
    command = [sys.executable, "-c", whole, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("package", BLOCKED)
def test_the_wall_stands(package):
    done = run(f"import {package}")
    assert done.returncode == 1
    assert f"ImportError: {package} is blocked here" in done.stderr


def test_load_answers(shipped):
    code = f"""
import json
import tinybert
model = tinybert.load(sys.argv[1], threads=1)
answers = [[a.label, a.score] for a in model({TEXTS})]
print(json.dumps([answers, loaded()]))
"""
    done = run(code, shipped)
    assert done.returncode == 0, done.stderr
    answers, loaded = json.loads(done.stdout)
    wanted = tinybert.load(shipped, threads=1)(TEXTS)
    assert answers == [[a.label, pytest.approx(a.score)] for a in wanted]
    assert loaded == []


def test_command_answers(shipped):
    """As ``python -m tinybert predict`` does; typer itself may want pydantic."""
    code = f"""
import atexit, runpy
atexit.register(lambda: print(loaded()))
sys.argv = ["tinybert", "predict", sys.argv[1], *{TEXTS}, "--threads", "1"]
runpy.run_module("tinybert", run_name="__main__")
"""
    done = run(code, shipped, blocked=[name for name in BLOCKED if name != "pydantic"])
    assert done.returncode == 0, done.stderr
    *lines, loaded = done.stdout.splitlines()
    wanted = tinybert.load(shipped, threads=1)(TEXTS)
    assert [line.split("\t")[:2] for line in lines] == [
        [str(n), a.label] for n, a in enumerate(wanted, start=1)
    ]
    assert loaded == "[]"


def test_training_side_says_what_it_needs():
    code = """
import tinybert
try:
    tinybert.datasets
except tinybert.MissingExtraError as error:
    print(error)
"""
    code = f"import sys\nsys.modules['datasets'] = None\n{code}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout == (
        "tinybert.datasets needs the package `datasets`; run: pip install 'tinybert[train]'\n"
    ), done.stderr


def test_training_needs_what_writes_texts_only_where_texts_are_written():
    """``make demo`` installs neither CTranslate2 nor anything that measures translations."""
    code = """
import importlib, pkgutil
import tinybert
needed = []
for package in ("tinybert", "tinybert.distill", "tinybert.ship"):
    for module in pkgutil.iter_modules(importlib.import_module(package).__path__):
        try:
            importlib.import_module(f"{package}.{module.name}")
        except ImportError as error:
            assert "ctranslate2 is blocked" in str(error), (module.name, error)
            needed.append(f"{package}.{module.name}")
print(*sorted(needed))
"""
    done = run(code, blocked=("ctranslate2",))
    assert done.returncode == 0, done.stderr
    taught = ("beams", "seq2seq", "writer_targets", "writer_vocabulary", "writing")
    assert done.stdout.split() == [
        "tinybert.ctranslate",
        *(f"tinybert.distill.{name}" for name in taught),
        *(f"tinybert.ship.{name}" for name in ("writer", "writing")),
    ]
