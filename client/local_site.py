"""One hospital during a run: its cohort, its own copy of the study and what it remembers between messages."""

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fedescc.client.cohort import SiteCohort, SplitName
from fedescc.client.cohorts import Cohorts
from fedescc.client.folds import divide, division
from fedescc.client.openings import FILE as OPENINGS
from fedescc.client.openings import Openings
from fedescc.client.queries import FILE as QUERIES
from fedescc.client.queries import Queries
from fedescc.client.site import ReleasePolicy
from fedescc.client.state import SiteState
from fedescc.common import wire
from fedescc.common.arrays import load_parameters
from fedescc.common.disclosure.rounding import rounded
from fedescc.common.errors import Refusal
from fedescc.common.fold import read_fold
from fedescc.common.identity import model_digest
from fedescc.common.network.fusion import fused_logits, split_models
from fedescc.common.study import Study
from fedescc.common.tabular.covariates import Encoding
from fedescc.common.tabular.received import received_encoding
from fedescc.common.wire import Reply, Request

if TYPE_CHECKING:
    from fedescc.client.learning.dataset import SiteTensors

LINEAR = "linear"
_KEPT_LOGITS = 32  # several models are evaluated by turns

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
        division: how its patients were divided by the first request; a run mode that divides them otherwise is refused.
        looks: replies about the test set, by look; the record of who has looked is in ``openings``.
        explanations: the reference and the reply of each model that was explained; the record is in ``queries``.
        questions: how often each model of a run's fold was asked for in a logistic regression.
        openings: who has looked at which test patients, for good.
        queries: how many questions were answered, for good.
        cohorts: of which patients they were answered, for good.
        state: what it remembers from round to round.

    """

    name: str
    study: Study
    policy: ReleasePolicy
    cohort: SiteCohort
    folder: Path | None = None
    division: str | None = None
    looks: dict[str, Reply] = field(default_factory=dict, repr=False)
    explanations: dict[str, tuple[Any, Reply]] = field(default_factory=dict, repr=False)
    questions: dict[str, dict[str, int]] = field(default_factory=dict, repr=False)
    openings: Openings = field(init=False, repr=False)
    queries: Queries = field(init=False, repr=False)
    cohorts: Cohorts = field(init=False, repr=False)
    state: SiteState = field(init=False, repr=False)
    _logits: dict[tuple[str, str], Floats] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        floor = self.study.disclosure.min_class_count
        strict = max(floor, self.policy.min_class_count)
        self.policy = self.policy.model_copy(update={"min_class_count": strict})
        self.openings, self.queries, self.cohorts = Openings(self.folder), Queries(self.folder), Cohorts(self.folder)
        self.state = SiteState(self.folder)

    def charge(self, message_type: str, request: Request) -> None:
        """Count a question before it is answered; the same one again is not counted twice.

        Raises:
            Refusal: ``query-budget-spent``; ``few-patients-changed``, of whom the difference to an earlier answer would
                tell; or ``lost-records``: what was asked before cannot be read, or a part of it is gone.

        """
        self._require_records()
        minimum = self.policy.min_class_count if self.policy.small_changes == "never" else 1
        patients = self.cohorts.admit(self.study.sha256, self.cohort, minimum)
        self.queries.charge(message_type, request, patients, self.policy.query_budget)

    def _require_records(self) -> None:
        """Refuse to go on with one record and without the other; a site's first question makes both, openings first."""
        if self.folder is None:
            return
        asked, opened = ((self.folder / name).exists() for name in (QUERIES, OPENINGS))
        if (asked and not opened) or (opened and not asked and self.openings.any()):
            what = f"{OPENINGS if asked else QUERIES} is gone from {self.folder}"
            raise Refusal("lost-records", what, "restore the file from a backup")
        if not opened:
            self.openings.any()

    def view(self, request: Request) -> SiteCohort:
        """The cohort as the request's fold divides it into training, validation and test patients.

        Raises:
            Refusal: ``another-division`` (the first request fixed one), or as `fedescc.client.folds.divide`.

        """
        fold = read_fold(request.task)
        if self.division not in (None, division(fold)):
            raise Refusal("another-division", "the patients were divided in another way before", "restart the site")
        split, minimum = self.study.analysis.split, self.policy.min_class_count
        divided = divide(self.cohort, fold, split, site=self.name, minimum=minimum)
        self.division = division(fold)  # a division that was refused binds nobody
        return divided

    def view_with(self, request: Request, names: Collection[str]) -> SiteCohort:
        """The view, its ``numeric`` also holding those image features among the names.

        Raises:
            Refusal: ``no-images``, or as `fedescc.client.features.store.with_features`.

        """
        cohort = self.view(request)
        features = [name for name in names if name not in cohort.numeric and name not in cohort.categorical]
        if not features:
            return cohort
        if self.study.imaging is None:
            raise Refusal("no-images", "image features of a study without images", "check the server's study")
        from fedescc.client.features.store import with_features

        return with_features(cohort, features, self.study.imaging, self.folder)

    def reply(self, sums: wire.Sums, reasons: dict[str, str] | None = None, **arrays: Any) -> Reply:
        """A reply in this site's name, with no more digits than its figures need."""
        return Reply(self.name, self.study.sha256, rounded(sums), reasons=reasons or {}, **arrays)

    def prepared(self, request: Request, split: SplitName) -> tuple[Any, "SiteTensors", Encoding]:
        """The received model with this site's own parameters, a split's patients as its inputs, and their encoding.

        Raises:
            Refusal: no weights, weights or an encoding that do not fit, or an unknown kind of model.

        """
        from fedescc.client.learning.dataset import SiteTensors
        from fedescc.client.learning.personal import weights_here
        from fedescc.common.network.model import LinearModel, build_model

        encoding = received_encoding(request.task, self.study)
        kind, columns = request.task.get("model"), len(encoding.columns)
        if kind not in (None, LINEAR):
            raise Refusal("unknown-model", "the server names a kind of model unknown here", "install the same version")
        # Every weight is overwritten next.
        model = LinearModel(columns) if kind == LINEAR else build_model(self.study, columns, seed=0)
        load_parameters(model, weights_here(self.state, request, model))
        cohort = self.view_with(request, [covariate.name for covariate in encoding.covariates])
        if kind == LINEAR:
            cohort = replace(cohort, images=None, rois=None)
        return model, SiteTensors.from_cohort(cohort, encoding, cohort.rows(split)), encoding

    def logits(self, request: Request, split: SplitName) -> Floats:
        """Logits of one split under the received weights, or fused from those of several models, (n,).

        Those asked for last are kept.
        """
        key = (model_digest(request), split)
        if key not in self._logits:
            found = self._fused(request, split) if "models" in request.task else self._predicted(request, split)
            while len(self._logits) >= _KEPT_LOGITS:
                del self._logits[next(iter(self._logits))]
            self._logits[key] = found
        return self._logits[key]

    def scores(self, request: Request, split: SplitName) -> Floats:
        """Logits of one split under each model of a fusion, (n, models)."""
        return np.stack([self.logits(model, split) for model in split_models(request)], axis=1)

    def _fused(self, request: Request, split: SplitName) -> Floats:
        return fused_logits(self.scores(request, split), request.task.get("fusion"))

    def _predicted(self, request: Request, split: SplitName) -> Floats:
        from fedescc.client.learning.predict import predict_logits

        model, tensors, _ = self.prepared(request, split)
        return predict_logits(model, tensors) if len(tensors) else np.zeros(0)
