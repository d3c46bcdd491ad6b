"""The gates of the explanation: what it must hold to before anybody reads it, each in words with value and limit."""

from collections.abc import Mapping
from typing import NamedTuple

from fedescc.server.report.formats import magnitude, plural, sentence
from fedescc.server.report.markup import Child, Html, el
from fedescc.server.report.parts import Gate
from fedescc.server.report.tables import Footnotes, table


class Asked(NamedTuple):
    """What a gate asks, what its value is, and how that stands to the limit."""

    question: str
    value: str
    rule: str


ASKED: dict[str, Asked] = {
    "additivity_error": Asked(
        "Values add up to the prediction", "largest error over sites and patients, in logits", "at most"
    ),
    "repeat_error": Asked("The same values when computed again", "largest difference, in logits", "at most"),
    "model_randomisation": Asked(
        "Another ranking when the model's weights are shuffled", "rank correlation with such models", "at most"
    ),
    "deletion_curve": Asked(
        "Removing the most important inputs first changes the prediction faster than any order does on average",
        "mean area between the deletion curves, in logits",
        "above",
    ),
    "inside_roi": Asked(
        "Tumour and rim matter more than the rest of the CT", "their share of the image's sum of |SHAP|", "above"
    ),
    "inside_roi_by_sd": Asked(
        "Tumour and rim also tell patients apart more than the rest of the CT",
        "their share of the image's sum of SDs of the SHAP values",
        "above",
    ),
    "local_baseline": Asked(
        "The same ranking of image regions with the tissue around as baseline", "rank correlation", "above"
    ),
}


def gates_part(gates: Mapping[str, Gate]) -> Html | None:
    """A verdict over all gates and a row for each; None where the results have none."""
    if not gates:
        return None
    notes = Footnotes("gates")
    rows = [_row(name, gate, notes) for name, gate in gates.items()]
    caption = "Figures of all sites together; of several folds each is that of the worst fold."
    drawn = table(caption, ["What is asked", "Measured by", "Value", "Limit", "Verdict"], rows, left=2)
    return el("div", el("h3", "Gates"), _verdict(gates), drawn, notes.legend())


def _verdict(gates: Mapping[str, Gate]) -> Html:
    failed = [_question(name) for name, gate in gates.items() if gate.passed is False]
    judged = sum(gate.passed is not None for gate in gates.values())
    words = f"{judged - len(failed)} of {plural(judged, 'gate')} that could be judged have passed."
    if not failed:
        return el("p", words)
    first = el("p", el("strong", "Failed gates."), f" {words} Read the explanation with care:")
    return el("aside", first, el("ul", *(el("li", name) for name in failed)), class_="notice", role="note")


def _row(name: str, gate: Gate, notes: Footnotes) -> list[Child]:
    asked = ASKED.get(name)
    value = notes.missing(gate.reason) if gate.value is None else magnitude(gate.value)
    limit = f"{asked.rule} {magnitude(gate.limit)}" if asked else magnitude(gate.limit)
    verdict: Child = {True: "passed", False: el("strong", "failed"), None: "not judged"}[gate.passed]
    return [_question(name), asked.value if asked else "", value, limit, verdict]


def _question(name: str) -> str:
    return ASKED[name].question if name in ASKED else sentence(name)
