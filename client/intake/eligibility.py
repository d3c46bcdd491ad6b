"""The protocol's rules for one patient: included, or excluded with every reason in protocol order."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Literal

from fedescc.client.intake.table.cells import Value
from fedescc.common.imaging import TimePoint
from fedescc.common.protocol import Condition, Rule
from fedescc.common.study import Study

INCLUDED = "included"
ENDPOINT_UNKNOWN = "endpoint_unknown"

Finding = Literal["found", "none", "unknown", "ambiguous"]
Outcome = Literal["holds", "fails", "unknown", "ambiguous"]


@dataclass(frozen=True)
class Scans:
    """What is known of a patient's CTs.

    Attributes:
        found: per time point, whether there is a CT in its window of dates.
        dates: StudyDate (0008,0020) of the CTs found.
        quality: why a volume was refused; empty when all could be read, None while not tried.
        roi: whether every time point has its ROI; None while not tried.
        details: what was wrong at which time point, as ``pre:missing_slices``.

    """

    found: Mapping[TimePoint, Finding] = field(default_factory=dict)
    dates: Mapping[TimePoint, date] = field(default_factory=dict)
    quality: tuple[str, ...] | None = None
    roi: bool | None = None
    details: tuple[str, ...] = ()


@dataclass(frozen=True)
class Decision:
    """``codes`` is empty for an included patient; otherwise its first entry is the reason that is counted."""

    codes: tuple[str, ...]
    label: int | None

    @property
    def code(self) -> str:
        """What the flow diagram counts this patient under."""
        return self.codes[0] if self.codes else INCLUDED


def decide(study: Study, values: Mapping[str, Value], faults: Iterable[str], scans: Scans | None = None) -> Decision:
    """Judge a patient by the study.

    Values that the study does not allow come first, then the rules in protocol order (``<code>:unknown`` where
    a rule's variable is missing), then what any study needs, and last the endpoint: records that contradict each
    other, or that are missing.

    Args:
        study: the protocol.
        values: study variable -> value; missing ones are absent.
        faults: codes of values that the study does not allow.
        scans: what is known of the CTs; None in a study without images.

    """
    patient = _Patient(study, values, scans or Scans())
    rules = study.eligibility.inclusion + study.eligibility.exclusion
    codes = [*faults, *(code for rule in rules if (code := patient.judge(rule)) is not None)]
    codes += patient.implied()
    label = endpoint_label(study, values)
    codes += [rule.code for rule in study.endpoint.contradictions if patient.contradicts(rule)]
    if label is None:
        codes.append(ENDPOINT_UNKNOWN)
    return Decision(tuple(codes), label)


def endpoint_label(study: Study, values: Mapping[str, Value]) -> int | None:
    """1 when every condition of the endpoint holds, 0 when all are known and one fails, None otherwise."""
    conditions = study.endpoint.positive_when
    if any(name not in values for name in conditions):
        return None
    return int(all(condition.holds(values[name]) for name, condition in conditions.items()))


def flow(decisions: Iterable[Decision]) -> dict[str, int]:
    """STARD flow counts (Bossuyt 2015): every patient once, included or under the first reason."""
    counts = Counter(decision.code for decision in decisions)
    return {INCLUDED: counts.pop(INCLUDED, 0), **dict(sorted(counts.items()))}


@dataclass(frozen=True)
class _Patient:
    study: Study
    values: Mapping[str, Value]
    scans: Scans

    def judge(self, rule: Rule) -> str | None:
        """The rule's code when it excludes this patient."""
        outcome = _BUILT_IN[rule.built_in](self) if rule.built_in else self._conditions(rule.when)
        if rule.when and rule in self.study.eligibility.exclusion:
            outcome = {"holds": "fails", "fails": "holds"}.get(outcome, outcome)  # type: ignore[assignment]
        if outcome == "holds":
            return None
        return rule.code if outcome == "fails" else f"{rule.code}:{outcome}"

    def implied(self) -> list[str]:
        """What a study needs also where its protocol has no rule for it."""
        rules = self.study.eligibility.inclusion + self.study.eligibility.exclusion
        written = {rule.built_in for rule in rules}
        codes = []
        if "complete_clinical_data" not in written:
            codes += [f"missing:{name}" for name in self._missing()]
        if self.study.imaging is not None:
            for built_in, code in (
                ("ct_pre", "no_ct_pre"),
                ("ct_post", "no_ct_post"),
                ("ct_quality", "ct_quality"),
                ("roi", "no_roi"),
                ("chronology", "no_chronology"),
            ):
                if built_in == "chronology" and len(self.study.imaging.time_points) < 2:
                    continue
                if built_in not in written and _BUILT_IN[built_in](self) != "holds":
                    codes.append(code)
        return codes

    def contradicts(self, rule: Rule) -> bool:
        """Whether the patient's records are such as the rule says cannot both be true."""
        return self._conditions(rule.when) == "holds"

    def _conditions(self, conditions: Mapping[str, Condition]) -> Outcome:
        known = [condition.holds(self.values[name]) for name, condition in conditions.items() if name in self.values]
        if not all(known):
            return "fails"
        return "holds" if len(known) == len(conditions) else "unknown"

    def _missing(self) -> list[str]:
        """Required variables without a value; the endpoint's have a code of their own."""
        return [
            name
            for name, variable in self.study.variables.items()
            if variable.required and name not in self.values and name not in self.study.endpoint.positive_when
        ]

    def complete(self) -> Outcome:
        """Whether every required variable has a value."""
        return "fails" if self._missing() else "holds"

    def ct(self, time_point: TimePoint) -> Outcome:
        """Whether the CT of a time point was found; a time point that the study does not use always is."""
        if self.study.imaging is None or time_point not in self.study.imaging.time_points:
            return "holds"
        return _FOUND[self.scans.found.get(time_point, "none")]

    def quality(self) -> Outcome:
        """Whether every volume could be read; nothing is said before it was tried."""
        return "fails" if self.scans.quality else "holds"

    def roi(self) -> Outcome:
        """Whether every time point has its ROI; nothing is said before it was tried."""
        return "fails" if self.scans.roi is False else "holds"

    def chronology(self) -> Outcome:
        """CT1 <= first dose <= last dose < CT2 < surgery, as far as the study has these dates."""
        first, last, surgery = (self._date(name) for name in ("first_dose_date", "last_dose_date", "surgery_date"))
        pre, post = self.scans.dates.get("pre"), self.scans.dates.get("post")
        # A CT that cannot be used is excluded for that, and its date may not be known.
        found = [] if self.scans.quality else [point for point, one in self.scans.found.items() if one == "found"]
        undated = any(point not in self.scans.dates for point in found)
        not_after = ((pre, first), (first, last))
        before = ((last, post), (post, surgery), (last, surgery))
        if any(a and b and a > b for a, b in not_after) or any(a and b and a >= b for a, b in before):
            return "fails"
        used = {"first_dose_date", "last_dose_date", "surgery_date"} & self.study.variables.keys()
        return "holds" if used <= self.values.keys() and not (used and undated) else "unknown"

    def _date(self, name: str) -> date | None:
        value = self.values.get(name)
        return value if isinstance(value, date) else None


_FOUND: dict[Finding, Outcome] = {
    "found": "holds",
    "none": "fails",
    "unknown": "unknown",
    "ambiguous": "ambiguous",
}
_BUILT_IN: dict[str, Callable[[_Patient], Outcome]] = {
    "ct_pre": lambda patient: patient.ct("pre"),
    "ct_post": lambda patient: patient.ct("post"),
    "chronology": _Patient.chronology,
    "complete_clinical_data": _Patient.complete,
    "ct_quality": _Patient.quality,
    "roi": _Patient.roi,
}
