"""One JSON object per run and line, appended as the runs end; the key tells what need not be run again."""

from __future__ import annotations

import json
from pathlib import Path

from pyscf_mlguess.journal import complete_lines

# What rows of earlier versions lack, which ran with PySCF's defaults and measured less.
_PROTOCOL = {"max_memory": 4000, "smearing": 0.0, "symmetry": False, "restricted_open": False,
             "unrestricted": False, "generalised": False, "x2c": False, "scanner": False, "converge_on": False,
             "stability": False, "without_scf": False}
_MEASURED = dict.fromkeys(("resident_mb", "energy_estimate", "energy_lacking", "stable", "warnings", "dipole",
                           "initial_energy_error", "initial_dipole", "initial_dipole_error", "multiplicity"))


def row_key(row: dict) -> tuple:
    """Set, molecule and geometry, guess with weights and code, protocol: two rows of the same key are the same run."""
    protocol = tuple(sorted(row["protocol"].items()))
    return row["set"], row["molecule"], row["fingerprint"], row["guess"], row["weights"], row["code"], protocol


def read_rows(path: str | Path) -> list[dict]:
    """One row per run, [] for a missing file; an unfinished last line (a kill) is cut off the file.

    Rows of earlier versions are read, too; what they did not measure is None.

    Raises ValueError naming file and line for anything else that is not a row.
    """
    rows = {}
    for number, line in enumerate(complete_lines(path), start=1):
        try:
            row = _MEASURED | json.loads(line)
            for name, value in _PROTOCOL.items():
                row["protocol"].setdefault(name, value)
            rows.setdefault(row_key(row), row)
        except (ValueError, KeyError, TypeError, AttributeError):
            raise ValueError(f"{path}, line {number}: not a benchmark result; name another output file") from None
    return list(rows.values())
