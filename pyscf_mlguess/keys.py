"""The values of ``mf.init_guess`` that are ours: 'ml', 'ml:<model>', and PySCF's own with '+refine'."""

from __future__ import annotations

import re
from dataclasses import dataclass

# 'ml+refine' is 'ml'.
_LEARNED = re.compile(r"ml(?:\+refine)?(?::(.+))?", re.IGNORECASE | re.DOTALL)
_REFINED = re.compile(r"(.+)\+refine", re.IGNORECASE | re.DOTALL)
# PySCF's keys that can be refined.
_PYSCF = ("minao", "atom", "huckel", "mod_huckel", "sap", "vsap", "1e", "hcore", "chkfile")
KNOWN = "'ml', 'ml:<model name or path>', and any of PySCF's keys with '+refine', as 'minao+refine'; " \
        f"PySCF's keys are {', '.join(_PYSCF)}"


@dataclass(frozen=True)
class GuessKey:
    """What the cheap problem is to refine.

    model: name or path of the model behind a learned guess; None for PySCF's own.
    plain: PySCF's key; "" for a learned guess.
    """

    model: str | None = None
    plain: str = ""

    @classmethod
    def parse(cls, key) -> "GuessKey | None":
        """Our part of a key; None for what is PySCF's business.

        Raises ValueError for what begins as a key of ours and is none: PySCF would run minao in silence.
        """
        if not isinstance(key, str):
            return None
        if learned := _LEARNED.fullmatch(key):
            return cls(learned[1] or "default")
        refined = _REFINED.fullmatch(key)
        if refined and _is_pyscfs(refined[1]):
            return cls(plain=refined[1])
        if refined or key.lower().startswith("ml") or "+ref" in key.lower():
            raise ValueError(f"init_guess = {key!r} is no key of pyscf_mlguess; there are {KNOWN}")
        return None

    @classmethod
    def known(cls, key: str) -> "GuessKey | None":
        """``parse`` that raises ValueError for what is not PySCF's key either: PySCF takes it for minao."""
        wanted = cls.parse(key)
        if wanted is None and not _is_pyscfs(key):
            raise ValueError(f"init_guess = {key!r} is unknown; there are {KNOWN}")
        return wanted

    @property
    def is_learned(self) -> bool:
        return self.model is not None


def _is_pyscfs(key):
    # All that begins with "chk" makes PySCF read the checkpoint file.
    return key.lower() in _PYSCF or key.lower().startswith("chk")
