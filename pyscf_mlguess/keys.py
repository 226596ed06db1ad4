"""The values of ``mf.init_guess`` that are ours: 'ml', 'ml+refine', 'ml:<model>', and PySCF's own with '+refine'."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

_LEARNED = re.compile(r"ml(\+refine)?(?::(.+))?", re.IGNORECASE | re.DOTALL)
_REFINED = re.compile(r"(.+)\+refine", re.IGNORECASE | re.DOTALL)
# PySCF's keys that can be refined.
_PYSCF = ("minao", "atom", "huckel", "mod_huckel", "sap", "vsap", "1e", "hcore", "chkfile")
KNOWN = "'ml', 'ml:<model name or path>', 'ml+refine', 'ml+refine:<model name or path>', and any of PySCF's keys " \
        f"with '+refine', as 'minao+refine'; PySCF's keys are {', '.join(_PYSCF)}"


@dataclass(frozen=True)
class GuessKey:
    """A key taken apart.

    model: name or path of the model behind a learned guess; None for PySCF's own.
    plain: PySCF's key; "" for a learned guess.  refined: whether the cheap problem refines the guess.
    """

    model: str | None = None
    plain: str = ""
    refined: bool = False

    @classmethod
    def parse(cls, key) -> "GuessKey | None":
        """Our part of a key; None for what is PySCF's business.

        Raises ValueError for what begins as a key of ours and is none: PySCF would run minao in silence.
        """
        if not isinstance(key, str):
            return None
        if learned := _LEARNED.fullmatch(key):
            return cls(learned[2] or "default", refined=bool(learned[1]))
        refined = _REFINED.fullmatch(key)
        if refined and _is_pyscfs(refined[1]):
            return cls(plain=refined[1], refined=True)
        if refined or key.lower().startswith("ml") or "+ref" in key.lower():
            raise ValueError(f"init_guess = {key!r} is no key of pyscf_mlguess; there are {KNOWN}")
        return None

    @classmethod
    def known(cls, key: str) -> "GuessKey":
        """``parse`` that takes PySCF's keys, too; raises ValueError for all others, which PySCF takes for minao."""
        wanted = cls.parse(key)
        if wanted is None and not _is_pyscfs(key):
            raise ValueError(f"init_guess = {key!r} is unknown; there are {KNOWN}")
        return wanted or cls(plain=key)

    @property
    def is_learned(self) -> bool:
        return self.model is not None

    def with_refinement(self) -> "GuessKey":
        """The same guess, refined."""
        return replace(self, refined=True)


def _is_pyscfs(key):
    # All that begins with "chk" makes PySCF read the checkpoint file.
    return key.lower() in _PYSCF or key.lower().startswith("chk")
