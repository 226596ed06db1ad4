"""One JSON object per run and line, appended as the runs end; the key tells what need not be run again."""

from __future__ import annotations

import json
import os
from pathlib import Path


def row_key(row: dict) -> tuple:
    """Set, molecule and geometry, guess with weights and code, protocol: two rows of the same key are the same run."""
    protocol = tuple(sorted(row["protocol"].items()))
    return row["set"], row["molecule"], row["fingerprint"], row["guess"], row["weights"], row["code"], protocol


def append_row(path: str | Path, row: dict) -> None:
    """Append in one write, so that rows of several processes never mix."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        os.write(descriptor, (json.dumps(row) + "\n").encode())
    finally:
        os.close(descriptor)


def read_rows(path: str | Path) -> list[dict]:
    """One row per run, [] for a missing file; an unfinished last line (a kill) is cut off the file.

    Raises ValueError naming file and line for anything else that is not a row.
    """
    rows = {}
    for number, line in enumerate(complete_lines(path), start=1):
        try:
            row = json.loads(line)
            rows.setdefault(row_key(row), row)
        except (ValueError, KeyError, TypeError, AttributeError):
            raise ValueError(f"{path}, line {number}: not a benchmark result; name another output file") from None
    return list(rows.values())


def complete_lines(path: str | Path) -> list[bytes]:
    """What ``append_row`` wrote, [] for a missing file; an unfinished last line (a kill) is cut off the file."""
    path = Path(path)
    if not path.exists():
        return []
    data = path.read_bytes()
    complete = data[: data.rfind(b"\n") + 1]
    if len(complete) < len(data):
        os.truncate(path, len(complete))
    return complete.splitlines()
