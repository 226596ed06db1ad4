"""What needs PySCF waits until there is one: PySCF's configuration file may import this package.

PySCF runs that file in the middle of its own import, when none of its modules can be imported yet.
"""

from __future__ import annotations

import importlib.abc
import importlib.util
import sys
from collections.abc import Callable

_LAST = "pyscf.scf"  # all that this package needs at its start is there when this is


def when_pyscf_is_there(action: Callable[[], None]) -> None:
    """Call ``action`` now, or, where PySCF is being imported, as soon as its SCF module is complete.

    Errors of an action that had to wait are told on stderr and end nothing: ``import pyscf`` goes on without it.
    """
    if "pyscf" in sys.modules and _LAST not in sys.modules:
        sys.meta_path.insert(0, _AfterImport(action))
    else:
        action()


class _AfterImport(importlib.abc.MetaPathFinder):
    """Finds PySCF's SCF module where it is, once, and has ``action`` follow its execution."""

    def __init__(self, action):
        self._action = action

    def find_spec(self, name, path=None, target=None):
        if name != _LAST:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def exec_module(module):
                execute(module)
                self._follow()

            spec.loader.exec_module = exec_module
        return spec

    def _follow(self):
        try:
            self._action()
        except Exception as error:
            # Not a warning: with python -W error that would be the end of `import pyscf`.
            print(f"Warning: pyscf_mlguess, imported by PySCF's configuration file, cannot be used "
                  f"({type(error).__name__}: {error}); plain PySCF runs", file=sys.stderr)
            scf = sys.modules["pyscf.scf.hf"].SCF
            if str(scf.init_guess).lower().startswith("ml"):
                scf.init_guess = "minao"
