"""The wheel holds what it must, and answers in an environment with its base dependencies alone."""

import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from email.parser import Parser
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import tinybert

ROOT = Path(__file__).parents[2]
NEEDED = ("src", "pyproject.toml", "README.md", "LICENSE")


def run(*command, **settings):
    done = subprocess.run(
        [*map(str, command)], capture_output=True, text=True, timeout=250, **settings
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel of a copy of the tree, so that the repository gets no build folder."""
    folder = tmp_path_factory.mktemp("wheel")
    (folder / "tree").mkdir()
    for name in NEEDED:
        if (ROOT / name).is_dir():
            ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
            shutil.copytree(ROOT / name, folder / "tree" / name, ignore=ignored)
        else:
            shutil.copy(ROOT / name, folder / "tree" / name)
    build = ("-m", "build", "--wheel", "--no-isolation", "--outdir", folder)
    run(sys.executable, *build, folder / "tree")
    (found,) = folder.glob("*.whl")
    return found


def requirements(lines):
    """Return the names that requirement lines ask for, extras aside."""
    found = [Requirement(line) for line in lines or ()]
    return {r.name for r in found if r.marker is None or r.marker.evaluate({"extra": ""})}


def closure(names):
    """Return every installed distribution that the named ones need."""
    found, wanted = {}, set(names)
    while wanted:
        distribution = metadata.distribution(wanted.pop())
        name = distribution.name
        if name not in found:
            found[name] = distribution
            wanted |= requirements(distribution.requires)
    return found


@pytest.fixture(scope="module")
def environment(wheel, tmp_path_factory):
    """A new environment with the wheel and links to what its metadata asks for, nothing else."""
    folder = tmp_path_factory.mktemp("environment")
    venv.EnvBuilder(with_pip=False, symlinks=True).create(folder / "venv")
    place = folder / "venv" / ("Scripts" if sys.platform == "win32" else "bin")
    python = place / "python"
    install = ("install", "--quiet", "--no-deps", "--no-index", "--no-compile", wheel)
    run(sys.executable, "-m", "pip", "--python", python, *install)
    with zipfile.ZipFile(wheel) as archive:
        name = next(n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
        asked = Parser().parsestr(archive.read(name).decode()).get_all("Requires-Dist")
    links = folder / "links"
    links.mkdir()
    for distribution in closure(requirements(asked)).values():
        tops = {file.parts[0] for file in distribution.files} - {"..", "__pycache__"}
        for top in tops:
            (links / top).symlink_to(Path(distribution.locate_file(top)).resolve())
    paths = {"base": str(folder / "venv"), "platbase": str(folder / "venv")}
    site = Path(sysconfig.get_path("purelib", vars=paths))
    (site / "base.pth").write_text(f"{links}\n")
    return place


def test_wheel_holds_what_it_must(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        text = archive.read(next(n for n in names if n.endswith("/METADATA"))).decode()
    for name in ("py.typed", "ship/report.html.j2", "datasets/helpdesk/README.md", "cli.py"):
        assert f"tinybert/{name}" in names
    for split in ("train", "dev", "test"):
        assert f"tinybert/datasets/helpdesk/{split}.jsonl" in names
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)
    assert {name.split("/")[0] for name in names} == {
        "tinybert",
        f"tinybert-{tinybert.__version__}.dist-info",
    }
    sources = {f.relative_to(ROOT / "src").as_posix() for f in (ROOT / "src").rglob("*.py")}
    assert sources <= set(names)
    about = Parser().parsestr(text)
    assert about["License-Expression"] == "Apache-2.0"
    base = requirements(about.get_all("Requires-Dist"))
    assert base == {"numpy", "onnxruntime", "tokenizers", "rich", "typer"}


def test_repository_stays_clean(wheel):
    assert wheel.is_file()
    assert not (ROOT / "build").exists()
    assert not (ROOT / "dist").exists()


@pytest.mark.parametrize("package", ["torch", "transformers", "onnx", "datasets", "sklearn"])
def test_environment_has_no(environment, package):
    done = subprocess.run(
        [environment / "python", "-c", f"import {package}"], capture_output=True, text=True
    )
    assert f"ModuleNotFoundError: No module named '{package}'" in done.stderr


def test_wheel_answers(environment, shipped, tmp_path):
    texts = ["late parcel", "please help my card"]
    own = {"cwd": tmp_path, "env": {}}
    wanted = [
        f"{n}\t{a.label}\t{a.score:.4f}"
        for n, a in enumerate(tinybert.load(shipped, threads=1)(texts), start=1)
    ]
    command = (environment / "tinybert", "predict", shipped, *texts, "--threads", "1")
    assert run(*command, **own).splitlines() == wanted
    code = "import sys, tinybert; tinybert.load(sys.argv[1]); print(tinybert.__file__)"
    where = run(environment / "python", "-c", code, shipped, **own).strip()
    assert Path(where).is_relative_to(environment.parent)


def test_training_side_says_what_to_install(environment, tmp_path):
    done = subprocess.run(
        [environment / "tinybert", "distill", "--data", "a.csv"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={},
    )
    assert done.returncode == 2
    assert "run: pip install 'tinybert[train]'" in done.stderr
