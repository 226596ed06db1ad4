"""The learned guess as a user's default: a marked block in PySCF's configuration file, written and taken out again.

PySCF runs the first file that there is of ``$PYSCF_CONFIG_FILE``, ``./.pyscf_conf.py`` and ``$HOME/.pyscf_conf.py``
when it is imported.  The block must never end that import, whatever has become of this package since.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

_NAME = ".pyscf_conf.py"
_BEGIN, _END = b"# >>> mlguess enable >>>", b"# <<< mlguess enable <<<"
# Said in the first line where enabling has added more than the block itself, for disabling to take it away, too.
_NEW_FILE, _NEW_LINE = b"in a file of its own", b"after a line break of its own"
_BLOCK = """\
{begin} lines of pyscf_mlguess{added}; `mlguess disable` takes them out
try:
    import pyscf_mlguess
except Exception as error:
    import sys
    print("Warning: pyscf_mlguess cannot be used, plain PySCF runs:", error, file=sys.stderr)
    print("  Install or update it, or delete its lines in", {path}, file=sys.stderr)
else:
    scf_hf_SCF_init_guess = "ml"
    mlguess_two_level = {two_level}
{end}
"""


class ConfigurationError(ValueError):
    """The configuration file is not as this package left it; the message says where and what to do."""


@dataclass(frozen=True)
class State:
    """Whether the block stands in ``path``, and whether the two-level SCF is part of it."""

    path: Path
    on: bool
    two_level: bool

    def __str__(self) -> str:
        if not self.on:
            return f"off: nothing of pyscf_mlguess in {self.path}"
        return f"on, by {self.path}: init_guess = 'ml'{' and the two-level SCF' if self.two_level else ''}"


def configuration_file() -> Path:
    """The user's configuration file, which need not exist."""
    named = os.environ.get("PYSCF_CONFIG_FILE")
    return Path(named) if named else Path(os.environ.get("HOME", ".")) / _NAME


def in_the_way() -> Path | None:
    """The file in the current folder that PySCF runs instead of the user's; None without one."""
    here, own = Path.cwd() / _NAME, configuration_file()
    named = os.environ.get("PYSCF_CONFIG_FILE")
    if not here.is_file() or (named and own.is_file()) or (own.is_file() and own.samefile(here)):
        return None
    return here


def state() -> State:
    """Whether the learned guess is switched on in the user's configuration file."""
    path = configuration_file()
    _, block, _ = _parts(path)
    return State(path, bool(block), b"mlguess_two_level = True" in block)


def enable(two_level: bool = False) -> State:
    """Write the block, or change it where it stands; all else in the file stays as it is.

    Raises OSError where the file cannot be written, ConfigurationError for a damaged block.
    """
    path = configuration_file()
    before, block, after = _parts(path)
    if block:
        added = next((said for said in (_NEW_FILE, _NEW_LINE) if said in block.splitlines()[0]), b"")
    elif not path.exists():
        added = _NEW_FILE
    else:
        added = _NEW_LINE if before and not before.endswith(b"\n") else b""
        before += b"\n" if added else b""
    text = _BLOCK.format(begin=_BEGIN.decode(), end=_END.decode(), two_level=two_level,
                         path=ascii(str(path.absolute())),
                         added=f", {added.decode()}" if added else "").encode()
    _write(path, before + text + after)
    return state()


def disable() -> State:
    """Take the block out: the file is what it was, to the byte, and is gone where there was none.

    Raises OSError where the file cannot be written, ConfigurationError for a damaged block.
    """
    path = configuration_file()
    before, block, after = _parts(path)
    if block:
        first = block.splitlines()[0]
        if _NEW_LINE in first and not after:
            before = before.removesuffix(b"\n")
        if _NEW_FILE in first and not before + after:
            path.unlink()
        else:
            _write(path, before + after)
    return state()


def _parts(path):
    """What stands before the block, the block with its line breaks, and what follows; no block: all stands before."""
    data = path.read_bytes() if path.exists() else b""
    marks = data.count(_BEGIN), data.count(_END)
    begin, end = data.find(_BEGIN), data.find(_END)
    if marks == (0, 0):
        return data, b"", b""
    if marks != (1, 1) or end < begin:
        raise ConfigurationError(f"{path}: the lines from {_BEGIN.decode()!r} to {_END.decode()!r} are damaged; "
                                 "take them out by hand")
    end += len(_END)
    end += len(data[end:]) - len(data[end:].removeprefix(b"\r").removeprefix(b"\n"))
    return data[:begin], data[begin:end], data[end:]


def _write(path, data):
    """All of it or nothing, through links, with the permissions that the file had."""
    path = path.resolve()
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        if path.exists():
            shutil.copymode(path, name)
        else:
            os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise
