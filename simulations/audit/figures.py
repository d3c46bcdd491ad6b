"""One published figure beside the same figure of the pooled patients, and the list of all of them."""

import math
from dataclasses import dataclass, field
from typing import Any

EXACT = 1e-6
"""What rounding may do; a figure out of a histogram has the tolerance of its bins instead."""
NOT_RELEASED = "not-released"


@dataclass(frozen=True)
class Figure:
    """A figure as the federation published it and as the pooled patients give it.

    Attributes:
        group: what kind of figure it is, such as ``discrimination``.
        name: model, sites and figure, such as ``federated / pooled / auc``.
        federated: what was published.
        pooled: the same of the pooled patients; None where they give none.
        tolerance: the largest difference that is none.

    """

    group: str
    name: str
    federated: float
    pooled: float | None
    tolerance: float

    @property
    def difference(self) -> float | None:
        """Published minus recomputed."""
        return None if self.pooled is None else self.federated - self.pooled

    @property
    def passed(self) -> bool:
        """Whether they agree; a figure that was published though the pooled patients give none does not."""
        return self.difference is not None and abs(self.difference) <= self.tolerance

    @property
    def share(self) -> float:
        """The difference as a share of the tolerance."""
        return math.inf if self.difference is None else abs(self.difference) / self.tolerance

    def entry(self) -> dict[str, Any]:
        """As ``results.json`` has it."""
        return {
            "group": self.group,
            "figure": self.name,
            "federated": self.federated,
            "pooled": self.pooled,
            "difference": self.difference,
            "tolerance": self.tolerance,
            "passed": self.passed,
        }


@dataclass
class Ledger:
    """What was recomputed, and what was not and why.

    Attributes:
        prefix: goes before every name, such as ``without-east / `` for a fold.
        figures: recomputed ones.
        skipped: name -> reason.

    """

    prefix: str = ""
    figures: list[Figure] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)

    def check(
        self, group: str, name: str, published: float | None, pooled: float | None, tolerance: float = EXACT
    ) -> None:
        """Take in a figure; one that was not published has nothing to be compared with."""
        if published is None:
            self.skip(name, NOT_RELEASED)
            return
        reference = None if pooled is None or not math.isfinite(pooled) else float(pooled)
        self.figures.append(Figure(group, self.prefix + name, float(published), reference, float(tolerance)))

    def skip(self, name: str, reason: str) -> None:
        """Note that a figure was not recomputed."""
        self.skipped[self.prefix + name] = reason

    def entry(self) -> dict[str, Any]:
        """``results["audit"]``: whether all agree, the worst of each group, every figure, and what was left out."""
        groups = dict.fromkeys(figure.group for figure in self.figures)
        return {
            "passed": all(figure.passed for figure in self.figures) and bool(self.figures),
            "groups": {group: self._group(group) for group in groups},
            "figures": [figure.entry() for figure in self.figures],
            "not_audited": dict(self.skipped),
        }

    def _group(self, group: str) -> dict[str, Any]:
        own = [figure for figure in self.figures if figure.group == group]
        worst = max(own, key=lambda figure: figure.share)
        return {
            "figures": len(own),
            "failed": sum(not figure.passed for figure in own),
            "worst": worst.name,
            "difference": worst.difference,
            "tolerance": worst.tolerance,
        }
