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

    Args:
        script: The benchmark.
        job: What it is given, as JSON.
        done: Written by a finished job.
        log: Receives everything the job says.
        what: Shown to the user when it starts.

    Raises:
        SystemExit: The job failed; the log is named.
    """
    if done.is_file():
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


def digest(sources: Iterable[Path], *files: Path) -> str:
    """Return the SHA-256 of the data: tables of folders, then single files."""
    found = hashlib.sha256()
    for folder in sources:
        for path in sorted(folder.glob("*.[tj]s*")):
            found.update(path.read_bytes())
    for path in files:
        found.update(path.read_bytes())
    return found.hexdigest()
