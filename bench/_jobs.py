"""Runs a benchmark's jobs, each in a process of its own with one thread and a log."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

__all__ = ["digest", "start"]

HERE = Path(__file__).parent


def start(script: str, job: dict[str, Any], done: Path, log: Path, what: str) -> None:
    """Run ``script --job JSON`` unless the file it writes at its end is there.

    Beside the log stands what a finished job was given, its folders apart.

    Args:
        script: The benchmark.
        job: What it is given, as JSON.
        done: Written by a finished job.
        log: Receives everything the job says.
        what: Shown to the user when it starts.

    Raises:
        SystemExit: The job failed, and the log is named; or the file there was made by a job that
            was given something else.
    """
    asked = {key: value for key, value in job.items() if key not in ("work", "out", "run")}
    given = log.with_suffix(".job")
    if done.is_file():
        other = json.loads(given.read_text(encoding="utf-8")) if given.is_file() else asked
        if changed := sorted(key for key in asked if asked[key] != other.get(key)):
            raise SystemExit(
                f"{done} was made with another {' and '.join(changed)}; remove it and {given}, or "
                "name another --work"
            )
        return
    log.parent.mkdir(parents=True, exist_ok=True)
    print(f"{what} (log: {log})", flush=True)
    paths = os.pathsep.join([str(HERE), str(HERE.parent / "src")])
    with log.open("w", encoding="utf-8") as stream:
        ended = subprocess.run(
            [sys.executable, script, "--job", json.dumps(job)],
            stdout=stream,
            stderr=subprocess.STDOUT,
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": paths},
        )
    if ended.returncode:
        raise SystemExit(f"{log} tells why this failed: {what}")
    given.write_text(json.dumps(asked), encoding="utf-8")


def digest(sources: Iterable[Path], *files: Path) -> str:
    """Return the SHA-256 of the data: tables of folders, then single files."""
    found = hashlib.sha256()
    for folder in sources:
        for path in sorted(folder.glob("*.[tj]s*")):
            found.update(path.read_bytes())
    for path in files:
        found.update(path.read_bytes())
    return found.hexdigest()
