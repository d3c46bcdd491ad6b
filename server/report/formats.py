"""Numbers and names as people read them; nothing here knows HTML."""

from collections.abc import Iterable

DASH = "\u2013"
_MINUS = "\u2212"
_THIN = "\u202f"
_ACRONYMS = {"auc", "ct", "ecog", "ge", "hu", "pd1", "pdl1", "roi"}
_SCANS = {"blood_hu": "Blood (HU)", "noise_hu": "Noise (HU)", "slice_mm": "Slice (mm)"}
_REGIONS = {"tumour": "tumour", "rim": "tumour rim", "rest": "rest of CT"}
_TIME_POINTS = {"pre": "pre-treatment", "post": "post-treatment"}
_METHODS = {
    "federated": "Federated",
    "clinical": "Clinical",
    "clinical_only": "Clinical only",
    "features_clinical": "Features + clinical",
    "radiomics_clinical": "Radiomics + clinical",
    "fusion": "Fusion",
    "local_only": "Local only",
    "ensemble": "Ensemble of local models",
    "centralised": "Centralised",
    "local_clinical": "Local clinical",
    "centralised_clinical": "Centralised clinical",
}
_MODES = {
    "split": "the study's fixed split",
    "kfold": "cross-validation",
    "loso": "leave one site out",
    "temporal": "latest patients tested",
}


def decimal(value: float | None, digits: int = 3) -> str:
    """A number with fixed digits and a true minus sign; an en dash for None."""
    return DASH if value is None else f"{value:.{digits}f}".replace("-", _MINUS)


def whole(value: int | None) -> str:
    """A count with thin spaces between thousands; an en dash for None."""
    return DASH if value is None else f"{value:,}".replace(",", _THIN)


def interval(value: tuple[float, float] | None) -> str:
    """``0.741–0.868``; an en dash for None."""
    return DASH if value is None else f"{decimal(value[0])}{DASH}{decimal(value[1])}"


def percent(part: int, total: int) -> str:
    """A share of a total in whole percent."""
    return f"{100 * part / total:.0f}{_THIN}%" if total else DASH


def duration(seconds: float | None) -> str:
    """Seconds in the two largest units that matter; an en dash for None."""
    if seconds is None:
        return DASH
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


def ranges(numbers: Iterable[int]) -> str:
    """Whole numbers with runs drawn together: ``1–3, 7``."""
    runs: list[list[int]] = []
    for number in sorted(set(numbers)):
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(f"{run[0]}{DASH}{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)


def plural(count: int, noun: str) -> str:
    """``1 site``, ``3 sites``."""
    return f"{whole(count)} {noun}{'' if count == 1 else 's'}"


def words(code: str) -> str:
    """An identifier as words: ``ct_before_surgery`` reads ``CT before surgery``."""
    return " ".join(part.upper() if part in _ACRONYMS else part for part in code.split("_"))


def sentence(code: str) -> str:
    """An identifier as words that begin with a capital."""
    plain = words(code)
    return plain[:1].upper() + plain[1:]


def player_label(name: str) -> str:
    """A player of the explanation: ``pre_tumour`` reads ``tumour, pre-treatment``."""
    point, _, region = name.partition("_")
    if point in _TIME_POINTS and region in _REGIONS:
        return f"{_REGIONS[region]}, {_TIME_POINTS[point]}"
    return words(name)


def scan_label(name: str) -> str:
    """A kind or number of scans at a time point: ``post.noise_hu`` reads ``Noise (HU), post-treatment``."""
    point, _, kind = name.partition(".")
    return f"{_SCANS.get(kind, sentence(kind))}, {_TIME_POINTS.get(point, point)}" if kind else sentence(name)


def method_label(name: str) -> str:
    """A comparator's name as a label."""
    return _METHODS.get(name, sentence(name))


def mode_label(name: str) -> str:
    """A run mode in words."""
    return _MODES.get(name, sentence(name))


def fold_label(name: str) -> str:
    """A fold's name as a label: ``fold-1-of-5`` reads ``Fold 1 of 5``, ``without-<site>`` reads ``Without <site>``."""
    if name.startswith("without-"):
        return f"Without {name.removeprefix('without-')}"
    plain = name.replace("-", " ")
    return plain[:1].upper() + plain[1:]


def signed(value: float | None) -> str:
    """A difference with its sign, and a true minus; an en dash for None."""
    if value is None:
        return DASH
    shown = f"{value:+.3f}"
    return shown[1:] if float(shown) == 0 else shown.replace("-", _MINUS)


def signed_interval(value: tuple[float, float] | None) -> str:
    """``−0.051 to −0.011``; an en dash for None."""
    return DASH if value is None else f"{signed(value[0])} to {signed(value[1])}"


def p_value(value: float | None) -> str:
    """A p value; one that would round to nothing is named by its bound."""
    if value is None:
        return DASH
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def magnitude(value: float | None) -> str:
    """A number of any size: three decimals, or a power of ten where these say too little; an en dash for None."""
    if value is None:
        return DASH
    if value == 0:
        return "0"
    return (f"{value:.3f}" if 0.001 <= abs(value) < 1e6 else f"{value:.1e}").replace("-", _MINUS)


def span_of(numbers: Iterable[int]) -> str:
    """The lowest and highest of some counts: ``8–12``, or ``12`` where all are equal; an en dash for none."""
    found = sorted(set(numbers))
    if not found:
        return DASH
    return whole(found[0]) if len(found) == 1 else f"{whole(found[0])}{DASH}{whole(found[-1])}"


def shortened(label: str, length: int) -> str:
    """A label that fits a chart, with an ellipsis where it was cut."""
    return label if len(label) <= length else f"{label[: length - 1].rstrip()}\u2026"
