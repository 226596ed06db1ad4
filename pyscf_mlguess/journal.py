"""Files of one JSON object a line that several processes append to, and that survive a kill."""

from __future__ import annotations

import json
import os
from pathlib import Path


def append_row(path: str | Path, row: dict) -> None:
    """Append in one write, so that rows of several processes never mix."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        os.write(descriptor, (json.dumps(row) + "\n").encode())
    finally:
        os.close(descriptor)


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
