"""What a route tells about the guess that it made, and whether that can be trusted."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field


@dataclass
class Report(ABC):
    """notes: replacements and omissions, in words for the log; ``str(report)``: its figures in one line."""

    notes: list[str] = field(default_factory=list)

    @abstractmethod
    def objection(self) -> str | None:
        """Why the guess should not be used, in words for the user; None where nothing speaks against it."""
