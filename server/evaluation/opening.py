"""The opening of a fold's test set, written down before the first question about test patients.

What was locked then is kept, so that a run stopped after it looks again with the same thresholds and bins even where
another set of sites validates by now: the sites answer no other look.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fedescc.common.errors import Refusal
from fedescc.common.identity import MAX_DECLARED, model_digest
from fedescc.common.statistics.roc import probability
from fedescc.server.evaluation.evaluator import Evaluator
from fedescc.server.evaluation.lock import Lock, lock, validate
from fedescc.server.results import read_json, write_json

OPENING = "opening.json"
UNDECLARED = "not-declared"  # code: the test set was opened before this model was there


@dataclass
class Opening:
    """What was declared when the test set was opened, and what the sites said of earlier openings.

    Attributes:
        plan: digest of the analysis plan.
        path: where it is kept; None keeps it in memory.
        undeclared: models that came too late.

    """

    plan: str
    path: Path | None = None
    undeclared: list[str] = field(default_factory=list)
    _document: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        """Read what an earlier start of the run has declared.

        Raises:
            Refusal: ``another-plan``, or the file is damaged.

        """
        if self.path is None or not self.path.exists():
            return
        self._document = read_json(self.path)
        if self._document.get("plan_sha256") != self.plan:
            raise Refusal("another-plan", f"{self.path} was opened under another plan", "start a new run elsewhere")

    @property
    def looks(self) -> list[str]:
        """Digests of all looks declared; empty before the opening."""
        return [] if self._document is None else list(self._document["looks"])

    def lock(self, evaluator: Evaluator) -> Lock | None:
        """The model's lock: what was declared of it, or while the test set is closed a new one.

        None: the test set is open, and the model was not declared.

        Raises:
            Refusal: fewer sites than the quorum validate the model.

        """
        if self._document is None:
            return lock(evaluator)
        digest = model_digest(evaluator.request())
        for known in self._document["models"].values():
            if known["model"] == digest:
                return Lock(**known, validation=validate(evaluator, known["edges"]))
        return None

    def declare(self, locks: Mapping[str, Lock]) -> None:
        """Write down every look that there will be. Declared once: what came later is not added.

        Raises:
            Refusal: ``too-many-models``.

        """
        if self._document is not None:
            return
        if len(locks) > MAX_DECLARED:
            raise Refusal("too-many-models", f"{len(locks)} models", f"evaluate at most {MAX_DECLARED} in one run")
        self._document = {
            "plan_sha256": self.plan,
            "opened_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "looks": [one.look for one in locks.values()],
            "thresholds": {name: float(probability(one.threshold)) for name, one in locks.items()},
            "sites": {},
            "models": {name: _kept(one) for name, one in locks.items()},
        }
        self._write()

    def note(self, before: Mapping[str, int | None]) -> None:
        """Write down how often each site had opened these test patients for other runs; None where it does not say."""
        if self._document is not None:
            self._document["sites"] = dict(sorted({**self._document["sites"], **before}.items()))
            self._write()

    def entry(self) -> dict[str, Any]:
        """What results say of it."""
        document = self._document or {}
        return {key: document[key] for key in ("plan_sha256", "opened_at", "looks", "thresholds", "sites")}

    def _write(self) -> None:
        if self.path is not None and self._document is not None:
            write_json(self.path, self._document)


def _kept(one: Lock) -> dict[str, Any]:
    return {
        "model": one.model,
        "look": one.look,
        "edges": one.edges,
        "threshold": one.threshold,
        "source": one.source,
    }
