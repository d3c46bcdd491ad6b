"""What left the sites and under which protection; and what it takes to repeat the run."""

from typing import Any

from fedescc.server.report.document import Results
from fedescc.server.report.formats import DASH, decimal, duration, mode_label, sentence, whole
from fedescc.server.report.markup import Child, Html, el, section
from fedescc.server.report.parts import Privacy
from fedescc.server.report.tables import table

_MODEL = ("model.safetensors", "the final model with its threshold and encoding")
_FOLD_MODELS = ("folds/<fold>/model.safetensors", "each fold's model with its threshold and encoding")
_DOCUMENTS = (("results.json", "everything on this page as data"), ("report.html", "this page"))


def privacy_section(results: Results) -> Html | None:
    """Protection and the list of what left; None where the results do not say."""
    privacy = results.privacy
    if privacy is None:
        return None
    cards = [_differential_privacy(privacy), _secure_sum(privacy), _minimum(privacy)]
    parts: list[Child] = [el("dl", *cards, class_="cards")]
    if privacy.left_the_sites:
        parts += [el("h3", "What left the sites"), el("ul", *(el("li", item) for item in privacy.left_the_sites))]
    parts.append(
        el("p", "No message has a field for images, clinical rows or identifiers of patients.", class_="small-text")
    )
    return section("privacy", "Privacy", *parts)


def provenance_section(results: Results) -> Html:
    """Identity, settings, timing and files of the run."""
    known = [
        ("Study", results.study),
        ("Study SHA-256", el("code", results.study_sha256)),
        ("Registration", results.registration),
        ("fedescc version", results.version),
        ("Mode", mode_label(results.mode) if results.mode else None),
        ("Strategy", results.strategy),
        ("Seed", None if results.seed is None else str(results.seed)),
        ("Engine", results.engine),
    ]
    listed = [part for name, value in known if value for part in (el("dt", name), el("dd", value))]
    named = (_FOLD_MODELS if results.folds else _MODEL, *_DOCUMENTS)
    files = [part for name, what in named for part in (el("dt", el("code", name)), el("dd", what))]
    return section(
        "provenance",
        "Provenance",
        el("dl", *listed, class_="settings"),
        el("div", _settings(results.federation), _timing(results), class_="columns"),
        el("h3", "Files in the run's folder"),
        el("dl", *files, class_="settings"),
    )


def _differential_privacy(privacy: Privacy) -> Html:
    if not privacy.differential_privacy:
        off = "" if privacy.differential_privacy is None else "The model updates carry no formal privacy guarantee."
        return _card("Differential privacy", _state(privacy.differential_privacy), off)
    spent = f"\u03b5 = {decimal(privacy.epsilon, 2)}" if privacy.epsilon is not None else "\u03b5 not stated"
    delta = f", \u03b4 = {privacy.delta:g}" if privacy.delta is not None else ""
    return _card("Differential privacy", "On", f"{spent}{delta}; the unit is the patient.")


def _secure_sum(privacy: Privacy) -> Html:
    on = "The coordinator saw only sums over sites."
    off = "The coordinator received each site's update and summaries."
    words = {None: "", True: on, False: off}
    return _card("Secure sum", _state(privacy.secure_sum), words[privacy.secure_sum])


def _minimum(privacy: Privacy) -> Html:
    what = "Counts and statistics on fewer patients of a class stayed at the site; a site may be stricter."
    return _card("Minimum count", whole(privacy.min_class_count), what)


def _card(name: str, value: str, what: str) -> Html:
    return el("div", el("dt", name), el("dd", value), el("dd", what, class_="small"))


def _state(value: bool | None) -> str:
    return {True: "On", False: "Off", None: "Not stated"}[value]


def _settings(federation: dict[str, Any]) -> Html | None:
    rows = [[key, value] for key, value in _flat(federation)]
    return table("Settings of the federation.", ["Setting", "Value"], rows, left=2) if rows else None


def _flat(settings: dict[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Nested settings as dotted keys, as ``--set`` takes them."""
    rows = []
    for key, value in settings.items():
        if isinstance(value, dict):
            rows += _flat(value, f"{prefix}{key}.")
        else:
            rows.append((f"{prefix}{key}", _plain(value)))
    return rows


def _plain(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return DASH if value is None else str(value)


def _timing(results: Results) -> Html | None:
    rows = [[sentence(phase), duration(seconds)] for phase, seconds in results.timing.seconds.items()]
    return table("Time by phase.", ["Phase", "Time"], rows) if rows else None
