"""Writes ``bench/results/NAME.json``: the figures of a benchmark with where they came from."""

import json
import platform
import subprocess
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from tinybert.artifact import write_atomic

__all__ = ["RESULTS", "machine", "read", "read_all", "write"]

RESULTS = Path(__file__).parent / "results"
_PACKAGES = ("tinybert", "numpy", "tokenizers", "onnxruntime", "onnx", "torch", "transformers")


def write(
    name: str,
    rows: Sequence[Mapping[str, Any]],
    command: str,
    data_sha256: str | None = None,
    *,
    threads: int = 1,
    packages: Sequence[str] = (),
    more: Mapping[str, Any] | None = None,
) -> Path:
    """Write a benchmark's rows, whole or not at all.

    Args:
        name: Name of the file without ``.json``.
        rows: One mapping for each measurement, with its ``seed`` where one was drawn.
        command: What reproduces the figures, as typed in the repository's root.
        data_sha256: Hash of the data measured on; None where there are none.
        threads: Threads that each measured process was given.
        packages: What else decided the figures, for their versions.
        more: What else belongs to all rows, by name.

    Returns:
        The file.
    """
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / f"{name}.json"
    content = {
        "name": name,
        "command": command,
        "commit": _commit(),
        "machine": machine(),
        "threads": threads,
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": _versions(packages),
        "data_sha256": data_sha256,
        **(more or {}),
        "rows": [dict(row) for row in rows],
    }
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
    write_atomic(path, (text + "\n").encode())
    return path


def read(name: str) -> dict[str, Any] | None:
    """Return a benchmark's figures, or None where they were never written."""
    path = RESULTS / f"{name}.json"
    if not path.is_file():
        return None
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def read_all(kind: str) -> dict[str, dict[str, Any]]:
    """Return the figures of every benchmark ``kind-NAME``, by that name."""
    names = [path.stem.removeprefix(f"{kind}-") for path in sorted(RESULTS.glob(f"{kind}-*.json"))]
    return {name: content for name in names if (content := read(f"{kind}-{name}")) is not None}


def machine() -> str:
    """Return processor and core count: no host name, no path."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        names = [
            line.split(":", 1)[1].strip()
            for line in cpuinfo.read_text(encoding="utf-8").splitlines()
            if line.startswith("model name")
        ]
        return f"{names[0] if names else model}, {len(names) or 1} cores"
    return model


def _commit() -> str:
    """Return the commit measured, marked ``+changes`` where tracked files differ from it."""
    here = Path(__file__).parent
    try:
        commit = _git(here, "rev-parse", "--short=12", "HEAD")
        changed = _git(here, "status", "--porcelain", "--untracked-files=no", "--", "../src")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return f"{commit}{'+changes' if changed else ''}"


def _git(folder: Path, *arguments: str) -> str:
    """Return what a git command says."""
    done = subprocess.run(
        ["git", *arguments], cwd=folder, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def _versions(packages: Sequence[str]) -> dict[str, str]:
    """Return the versions that decide the figures."""
    found = {"python": platform.python_version()}
    for package in (*_PACKAGES, *packages):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found
