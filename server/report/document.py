"""What the report reads of ``results.json``, checked before anything is drawn. Keys it does not know are ignored."""

import json
from typing import Annotated, Any

from pydantic import Field, JsonValue, ValidationError

from fedescc.common.errors import Refusal
from fedescc.server.report.checks import Audit, Contribution, Shortcuts, examined_sites
from fedescc.server.report.expected import Planned, Unplanned
from fedescc.server.report.judged import Final
from fedescc.server.report.learning import Fold, Learned, Personalisation, Round
from fedescc.server.report.parts import Explanation, Flow, Part, Privacy, Sha256, SyntheticTest
from fedescc.server.report.planned import Opening, Plan


class Timing(Part):
    """Seconds by phase."""

    seconds: dict[str, float] = {}


class Results(Learned):
    """A results document; see the command contract. Of several folds it is pooled, and each is under ``folds``."""

    study: Annotated[str, Field(min_length=1)]
    study_sha256: Sha256
    rounds: tuple[Round, ...]
    final: Final
    plan: Plan | None = None
    opening: Opening | None = None
    title: str | None = None
    registration: str | None = None
    endpoint: str | None = None
    seed: int | None = None
    strategy: str | None = None
    engine: str | None = None
    federation: dict[str, JsonValue] = {}
    version: str | None = None
    mode: str | None = None
    folds: tuple[Fold, ...] = ()
    personalisation: Personalisation | None = None
    comparators_unavailable: dict[str, str] = {}
    flow: dict[str, Flow] = {}
    explanation: Explanation | None = None
    shortcuts: Shortcuts | None = None
    contribution: Contribution | None = None
    planning: Planned | Unplanned | None = None
    audit: Audit | None = None
    privacy: Privacy | None = None
    timing: Timing = Timing()
    synthetic_test: SyntheticTest | None = None
    notes: tuple[str, ...] = ()

    @property
    def tested_folds(self) -> list[Fold]:
        """Those of several folds that have results."""
        return [fold for fold in self.folds if fold.final is not None]

    @property
    def site_names(self) -> list[str]:
        """Every site that gave something to show, sorted; its place here is its colour, dash and marker."""
        explained = self.explanation.sites if self.explanation else {}
        extra = self.synthetic_test.auc.local_only if self.synthetic_test else {}
        compared = [name for other in self.comparators.values() for name in other.sites]
        curves = self.final.roc.keys() - {"pooled"}
        examined = examined_sites(self.shortcuts, self.contribution, self.planning)
        return sorted({*self.final.sites, *self.flow, *explained, *extra, *compared, *curves, *examined})


def parse_results(document: dict[str, Any]) -> Results:
    """A results document with its types checked; no text is taken for a number.

    Raises:
        Refusal: it is not a results document; the first fault is named, in one line.

    """
    try:
        return Results.model_validate_json(json.dumps(document, allow_nan=False), strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the document"
        raise _refusal(f"{where}: {first['msg']}") from error
    except (TypeError, ValueError) as error:
        raise _refusal("the document holds values that JSON does not have (such as NaN)") from error


def _refusal(what: str) -> Refusal:
    return Refusal("no-results", f"not a results document: {what}", "give the results.json of a finished run")
