"""One hospital during a run: its cohort, its own copy of the study and what it remembers between messages."""

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fedescc.client.cohort import SiteCohort, SplitName
from fedescc.client.site import ReleasePolicy
from fedescc.common import wire
from fedescc.common.arrays import load_parameters
from fedescc.common.covariates import Encoding
from fedescc.common.errors import Refusal
from fedescc.common.study import Study
from fedescc.common.wire import Reply, Request
from fedescc.common.yamlfile import check_model

if TYPE_CHECKING:
    from fedescc.client.learning.dataset import SiteTensors

Floats = NDArray[np.float64]


@dataclass
class LocalSite:
    """One hospital during a run: its name, its own copy of the study, its release policy and its cohort.

    Attributes:
        name: the site's name.
        study: this site's own copy.
        policy: what may leave; made as strict as the study's floor.
        cohort: the eligible patients.
        folder: where the site may keep what it needs again after a restart; None keeps it in memory.

    """

    name: str
    study: Study
    policy: ReleasePolicy
    cohort: SiteCohort
    folder: Path | None = None
    opened: dict[str, "Opened"] = field(default_factory=dict, repr=False)
    _logits: dict[tuple[str, str], Floats] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        floor = self.study.disclosure.min_class_count
        strict = max(floor, self.policy.min_class_count)
        self.policy = self.policy.model_copy(update={"min_class_count": strict})

    def view(self, request: Request) -> SiteCohort:
        """The cohort as the request's fold divides it into training, validation and test patients."""
        del request
        return self.cohort

    def reply(self, sums: wire.Sums, reasons: dict[str, str] | None = None, **arrays: Any) -> Reply:
        """A reply in this site's name."""
        return Reply(self.name, self.study.sha256, sums, reasons=reasons or {}, **arrays)

    def prepared(self, request: Request, split: SplitName) -> tuple[Any, "SiteTensors", Encoding]:
        """The received model, a split's patients as its inputs, and the encoding of both.

        Raises:
            Refusal: no weights, or weights or an encoding that do not fit.

        """
        from fedescc.client.learning.dataset import SiteTensors
        from fedescc.common.model import build_model

        weights = received_weights(request)
        encoding = check_model(request.task["encoding"], Encoding, "the server's encoding")
        model = build_model(self.study, len(encoding.columns), seed=0)  # every weight is overwritten next
        load_parameters(model, weights)
        cohort = self.view(request)
        return model, SiteTensors.from_cohort(cohort, encoding, cohort.rows(split)), encoding

    def logits(self, request: Request, split: SplitName) -> Floats:
        """Logits of one split under the received weights, (n,); kept until other weights arrive."""
        from fedescc.client.learning.predict import predict_logits

        key = (model_digest(request), split)
        if key not in self._logits:
            self._logits = {old: value for old, value in self._logits.items() if old[0] == key[0]}
            model, tensors, _ = self.prepared(request, split)
            self._logits[key] = predict_logits(model, tensors) if len(tensors) else np.zeros(0)
        return self._logits[key]


@dataclass
class Opened:
    """A look at the test set: by which model, with which question, in which fold, opened for which models."""

    model: str
    question: str
    reply: Reply
    fold: str
    declared: tuple[str, ...]
    recalibrations: int = 0


def model_digest(request: Request) -> str:
    """Identity of a model: its weights, the encoding of its inputs and the fold it belongs to."""
    digest = hashlib.sha256(np.ascontiguousarray(received_weights(request)).data)
    identity = [request.task["encoding"], request.task.get("model"), request.task.get("fold")]
    digest.update(json.dumps(identity, sort_keys=True).encode())
    return digest.hexdigest()


def received_weights(request: Request) -> NDArray[np.float32]:
    """The flat weights of a request.

    Raises:
        Refusal: it carries none.

    """
    if request.weights is None:
        raise Refusal("malformed-message", "the request carries no weights", "check the server's version")
    return request.weights
