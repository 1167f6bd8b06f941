"""The command line: help with examples, quick and without torch; problems as one line."""

import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from tinybert import cli
from tinybert._version import __version__
from tinybert.distill import general_recipe, sentence_recipe, seq2seq_recipe
from tinybert.distill import recipe as recipes
from tinybert.errors import ArtifactError
from tinybert.flags import AUGMENT_FLAGS, EMBED_FLAGS, FLAGS, GENERAL_FLAGS, SEQ2SEQ_FLAGS

COMMANDS = ("demo", "teach", "distill", "export", "quantize", "verify", "evaluate", "predict")
COMMANDS += ("report", "info", "convert", "general", "augment", "embed", "trim")
COMMANDS += ("seq2seq", "translate", "summarize", "plan")
HEAVY = ("torch", "transformers", "datasets", "onnx", "onnxruntime", "sklearn", "matplotlib")

invoke = CliRunner().invoke


def fake(monkeypatch, module, **functions):
    """Put a module of the training side in place without importing it."""
    made = types.ModuleType(module)
    for name, function in functions.items():
        setattr(made, name, function)
    monkeypatch.setitem(sys.modules, module, made)


def raising(error):
    def function(*_: Any, **__: Any) -> None:
        raise error

    return function


def run(code, *arguments, **settings):
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, **settings
    )


def test_every_command_is_there():
    assert sorted(typer.main.get_command(cli.app).commands) == sorted(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_examples(command):
    result = invoke(cli.app, [command, "--help"])
    assert result.exit_code == 0
    _, found, examples = result.output.partition("Examples:")
    assert found
    assert f"tinybert {command}" in examples


@pytest.mark.parametrize("command", [(), ("convert",)])
def test_help_imports_nothing_heavy(command):
    code = (
        "import sys\n"
        f"sys.argv = {['tinybert', *command, '--help']}\n"
        "from tinybert.cli import main\n"
        "try: main()\n"
        "except SystemExit as end: assert not end.code\n"
        f"print('loaded:', [m for m in {HEAVY} if m in sys.modules])\n"
    )
    done = run(code)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "loaded: []"
    assert command or all(name in done.stdout for name in COMMANDS)


def test_version():
    assert invoke(cli.app, ["--version"]).output == f"tinybert {__version__}\n"


def test_problem_is_one_line_and_code_2(monkeypatch):
    problem = ArtifactError("card.json has format 3;\nupgrade")
    fake(monkeypatch, "tinybert.ship.info", info=raising(problem))
    result = invoke(cli.app, ["info", "artifact"])
    assert result.exit_code == 2
    assert result.stderr == "tinybert: ArtifactError: card.json has format 3; upgrade\n"
    assert result.stdout == ""


def test_our_own_bug_keeps_its_traceback(monkeypatch):
    fake(monkeypatch, "tinybert.ship.info", info=raising(KeyError("bug")))
    result = invoke(cli.app, ["info", "artifact"])
    assert isinstance(result.exception, KeyError)


@pytest.mark.parametrize(
    ("command", "again"), [("distill", True), ("general", True), ("report", False)]
)
def test_interrupted_says_whether_it_resumes(monkeypatch, command, again):
    stop = raising(KeyboardInterrupt())
    fake(monkeypatch, "tinybert.ship.pipeline", distill=stop)
    fake(monkeypatch, "tinybert.ship.report", report=stop)
    fake(monkeypatch, "tinybert.distill.general", general=stop)
    result = invoke(cli.app, [command, *(["run"] if command == "report" else [])])
    assert result.exit_code == 130
    line = "tinybert: interrupted"
    line += "; the same command goes on where it stopped" if again else ""
    assert result.stderr == f"{line}\n"


@pytest.mark.parametrize("missing", ["torch", "transformers", "sklearn"])
def test_missing_extra_is_named(missing):
    code = (
        "import sys\n"
        f"sys.modules['{missing}'] = None\n"
        "sys.argv = ['tinybert', 'distill', '--data', 'x.csv']\n"
        "from tinybert.cli import main\n"
        "main()\n"
    )
    done = run(code)
    assert done.returncode == 2
    assert done.stderr == (
        f"tinybert: MissingExtraError: this command needs the package {missing}, which is not "
        "installed; run: pip install 'tinybert[train]'\n"
    )


@pytest.mark.parametrize(("given", "keep"), [("98%", 0.98), ("0.98", 0.98), (" 100 % ", 1.0)])
def test_plan_hands_over_limits_and_space(monkeypatch, tmp_path, given, keep):
    called = {}

    def planned(recipe, **limits):
        called.update(limits, out=recipe.out, teacher=recipe.teacher.model)
        return tmp_path

    fake(monkeypatch, "tinybert.ship.planner", plan=planned)
    fake(monkeypatch, "tinybert.ship.plan_page", print_plan=print)
    tries = ["--try", "student.layers=[1, 2]", "--try", "student.heads=6"]
    tries += ["--try", "pruning.heads=[none, 6]", "--try", 'student.mapping=["none", "last"]']
    limits = ["--max-mb", "4", "--keep", given, "--minutes", "5"]
    done = invoke(cli.app, ["plan", "--teacher", "folder", *limits, *tries])
    assert done.exit_code == 0, done.output
    assert called == {
        "max_mb": 4.0,
        "max_ms": None,
        "keep": pytest.approx(keep),
        "minutes": 5.0,
        "space": {
            "student.layers": [1, 2],
            "student.heads": [6],
            "pruning.heads": [None, 6],
            "student.mapping": [None, "last"],
        },
        "out": "runs/plan",
        "teacher": "folder",
    }
    assert f"--recipe {tmp_path / 'recipe.toml'}" in done.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--keep", "most"], "--keep is `most`; wanted a share such as 98% or 0.98"),
        (["--try", "student.layers"], "--try is `student.layers`; wanted section.key=value"),
    ],
)
def test_plan_refuses_wrong_flags(monkeypatch, arguments, message):
    fake(monkeypatch, "tinybert.ship.planner", plan=raising(AssertionError))
    fake(monkeypatch, "tinybert.ship.plan_page", print_plan=print)
    done = invoke(cli.app, ["plan", *arguments])
    assert done.exit_code == 2
    assert message in done.stderr


def test_another_missing_module_is_our_bug(monkeypatch):
    fake(monkeypatch, "tinybert.ship.info", info=raising(ModuleNotFoundError("no", name="typo")))
    assert isinstance(invoke(cli.app, ["info", "x"]).exception, ModuleNotFoundError)


def test_closed_pipe_is_quiet():
    code = (
        "import sys, types\n"
        "made = types.ModuleType('tinybert.ship.info')\n"
        "made.info = lambda path: {str(i): 'x' * 99 for i in range(20_000)}\n"
        "sys.modules['tinybert.ship.info'] = made\n"
        "sys.argv = ['tinybert', 'info', 'x']\n"
        "from tinybert.cli import main\n"
        "main()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(60) == 141
    assert process.stderr.read() == ""


def field(name, kind=recipes.Recipe):
    """Return the field of the recipe that a dotted name means."""
    model: Any = kind
    *sections, last = name.split(".")
    for section in sections:
        model = model.model_fields[section].annotation
    return model.model_fields[last]


@pytest.mark.parametrize(("flag", "distill", "teach"), [entry[:3] for entry in FLAGS])
def test_flags_mean_settings_that_exist(flag, distill, teach):
    assert flag.startswith("--")
    for name in f"{distill} {teach or ''}".split():
        assert field(name)


@pytest.mark.parametrize(("flag", "name"), [entry[:2] for entry in GENERAL_FLAGS])
def test_flags_of_general_mean_settings_that_exist(flag, name):
    assert flag.startswith("--") or flag.isupper()
    assert field(name, general_recipe.GeneralRecipe)


@pytest.mark.parametrize(("flag", "name"), [entry[:2] for entry in EMBED_FLAGS])
def test_flags_of_embed_mean_settings_that_exist(flag, name):
    assert flag.startswith("--")
    assert field(name, sentence_recipe.SentenceRecipe)


@pytest.mark.parametrize(("flag", "names"), [entry[:2] for entry in SEQ2SEQ_FLAGS])
def test_flags_of_seq2seq_mean_settings_that_exist(flag, names):
    assert flag.startswith("--")
    for name in names.split():
        assert field(name, seq2seq_recipe.Seq2SeqRecipe)


@pytest.mark.parametrize("name", [entry[1] for entry in AUGMENT_FLAGS])
def test_flags_of_augment_mean_settings_that_exist(name):
    assert field(name)


def taken(monkeypatch, command, *arguments):
    """Return the recipe that a command line leads to."""
    seen = []
    fake(monkeypatch, "tinybert.ship.pipeline", distill=lambda r: seen.append(r) or Path("run"))
    fake(monkeypatch, "tinybert.distill.task", teach=lambda r: seen.append(r) or Path("run"))
    fake(monkeypatch, "tinybert.distill.general", general=lambda r: seen.append(r) or Path("run"))
    monkeypatch.setattr(cli, "show_report", lambda *_, **__: None)
    result = invoke(cli.app, [command, *arguments])
    assert result.exit_code == 0, result.output
    return seen[0]


def test_flags_reach_the_recipe(monkeypatch, tmp_path):
    file = tmp_path / "r.toml"
    file.write_text('seed = 5\n[student]\nlayers = 2\n[data]\nsource = "a.csv"\n')
    found = taken(
        monkeypatch,
        "distill",
        *("--recipe", str(file), "--layers", "0,2,5", "--batch-size", "8", "--drop-leaks"),
        *("--epochs", "2.5", "--set", "layer_stage.hidden=0.5", "--set", "student.mapping=last"),
    )
    assert found.seed == 5
    assert found.data.source == "a.csv"
    assert found.data.drop_leaks is True
    assert found.student.layers == (0, 2, 5)
    assert found.student.mapping == "last"
    assert (found.layer_stage.batch_size, found.prediction_stage.batch_size) == (8, 8)
    assert (found.prediction_stage.epochs, found.layer_stage.hidden) == (2.5, 0.5)
    assert taken(monkeypatch, "distill", "--layers", "4").student.layers == 4


def test_flags_of_teach_mean_the_teacher(monkeypatch):
    found = taken(monkeypatch, "teach", "--epochs", "3", "--learning-rate", "1e-5", "--seed", "2")
    assert (found.teacher.epochs, found.teacher.learning_rate, found.seed) == (3.0, 1e-5, 2)
    assert found.prediction_stage == recipes.Recipe().prediction_stage


def test_texts_of_general_stand_behind_their_flag(monkeypatch):
    found = taken(
        monkeypatch,
        "general",
        *("--teacher", "t", "--text", "a.txt", "b.txt.xz", "--layers", "4", "--hidden", "312"),
        *("--losses", "relations", "--set", "training.every=10"),
    )
    assert found.corpus.texts == ("a.txt", "b.txt.xz")
    assert (found.teacher, found.student.layers, found.student.hidden) == ("t", 4, 312)
    assert (found.training.losses, found.training.every) == ("relations", 10)
    several = taken(monkeypatch, "general", "--text", "a.txt", "--text", "b.txt")
    assert several.corpus.texts == ("a.txt", "b.txt")


def test_unknown_settings_of_general_are_named():
    result = invoke(cli.app, ["general", "--set", "training.step=3"])
    assert result.exit_code == 2
    assert "unknown setting `training.step`; did you mean `steps`?" in result.stderr


def test_flags_of_augment_reach_the_recipe(monkeypatch):
    seen = []
    fake(monkeypatch, "tinybert.distill.augment", augment=lambda r, to: seen.append((r, to)))
    arguments = ["--data", "a.csv", "--teacher", "t", "--to", "more.csv", "--source", "vectors"]
    arguments += ["--vectors", "v.txt", "--copies", "5", "--min-confidence", "0.5", "--seed", "3"]
    result = invoke(cli.app, ["augment", *arguments])
    assert result.exit_code == 0, result.output
    (found, to), settings = seen[0], seen[0][0].augment
    assert (str(to), found.data.source, found.teacher.model, found.seed) == (
        "more.csv",
        "a.csv",
        "t",
        3,
    )
    assert (settings.source, settings.vectors, settings.copies) == ("vectors", "v.txt", 5)
    assert (settings.p, settings.candidates, settings.min_confidence) == (0.4, 15, 0.5)
    assert invoke(cli.app, ["augment", "--data", "a.csv"]).exit_code == 2


def test_unlabelled_files_may_be_several(monkeypatch, tmp_path):
    assert taken(monkeypatch, "distill").data.unlabelled == ()
    found = taken(monkeypatch, "distill", "--unlabelled", "a.txt", "--unlabelled", "b.csv")
    assert found.data.unlabelled == ("a.txt", "b.csv")
    found = taken(monkeypatch, "distill", "--set", "data.unlabelled=a.txt")
    assert found.data.unlabelled == ("a.txt",)
    recipes.save(found, tmp_path / "again.toml")
    assert recipes.load(tmp_path / "again.toml") == found


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--layers", "three"], "--layers is `three`; wanted a number, or teacher layers"),
        (["--set", "student.layers"], "--set is `student.layers`; wanted section.key=value"),
        (["--set", "student.hiden=3"], "did you mean `hidden`?"),
    ],
)
def test_flags_that_make_no_sense(arguments, message):
    result = invoke(cli.app, ["distill", *arguments])
    assert result.exit_code == 2
    assert result.stderr.startswith("tinybert: ConfigError: ")
    assert message in result.stderr


def test_predict_needs_no_torch(monkeypatch):
    seen = {}

    def predict(artifact, texts, **settings):
        seen.update(settings, artifact=str(artifact), texts=list(texts))
        return seen["texts"].count("broken")

    fake(monkeypatch, "tinybert.runtime", predict=predict)
    assert invoke(cli.app, ["predict", "a", "hello", "--format", "jsonl"]).exit_code == 0
    assert (seen["texts"], seen["format"], seen["file"]) == (["hello"], "jsonl", None)
    assert invoke(cli.app, ["predict", "a"], input="hello\n").exit_code == 0
    assert seen["file"] == "-"
    result = invoke(cli.app, ["predict", "a", "broken"])
    assert result.exit_code == 1
    assert "1 rows could not be read" in result.stderr
