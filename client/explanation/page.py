"""A page with single patients' explanations, for local eyes: it is written into the site's folder and never sent.

It names patients by a running number and the first digits of their salted key, loads nothing, and only its owner may
read it.
"""

import base64
import html
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fedescc.client.explanation.plots import Floats, beeswarm, overlay, waterfall
from fedescc.client.explanation.regions import RIM_MM, regions_of
from fedescc.client.explanation.survey import Subject, Survey
from fedescc.common.console import log
from fedescc.common.files import write_atomically
from fedescc.common.fold import read_fold
from fedescc.common.statistics.roc import probability
from fedescc.common.wire import Request

FOLDER = "explanations"
MOST_OF_A_CLASS = 20
MOST_SECONDS = 60.0
_KEY_DIGITS = 8
_STYLE = "body{font:14px sans-serif;max-width:60em;margin:2em auto}img{max-width:100%}h2{margin-top:2em}"
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def write_page(
    folder: Path | None, request: Request, subject: Subject, survey: Survey, keys: Sequence[str], name: str
) -> Path | None:
    """Write ``explanations/RUN/FOLD-NAME.html``; a page that cannot be made costs nobody the answer, and is said here.

    Args:
        folder: of the site; None has no place for a page.
        request: its run and fold name the file.
        subject: what was explained.
        survey: its explanation.
        keys: the test patients' salted keys.
        name: of the model.

    """
    if folder is None:
        return None
    try:
        path = _path(folder, request, name)
        write_atomically(path, _document(subject, survey, keys, name).encode(), mode=0o600)
    except Exception as error:  # noqa: BLE001 - whatever a plot or a disk does, the federation gets its answer
        log(f"the page of explanations was not written: {type(error).__name__}")
        return None
    return path


def chosen(labels: NDArray[np.int8], logits: Floats, most: int = MOST_OF_A_CLASS) -> list[int]:
    """Patients of each class with the largest scores, the positive class first."""
    order = np.argsort(-logits, kind="stable")
    return [int(row) for outcome in (1, 0) for row in order[labels[order] == outcome][:most]]


def _path(folder: Path, request: Request, name: str) -> Path:
    fold = read_fold(request.task)
    place = folder / FOLDER / str(request.task.get("run") or "run")
    for made in (place.parent, place):
        made.mkdir(mode=0o700, parents=True, exist_ok=True)
        made.chmod(0o700)
    return place / f"{'split' if fold is None else fold.name}-{name}.html"


def _document(subject: Subject, survey: Survey, keys: Sequence[str], name: str) -> str:
    end = time.monotonic() + MOST_SECONDS
    labels = subject.tensors.labels.numpy().astype(np.int8)
    rows = chosen(labels, survey.exact.logits)
    data = subject.tensors.clinical.numpy().astype(np.float64) if survey.of_columns else None
    parts = [
        f"<h1>{html.escape(subject.study.title)}: explanations, {html.escape(name)}</h1>",
        "<p>For local eyes only. Exact Shapley values of the test patients, on the scale of the logit.</p>",
        _image(beeswarm(survey.exact, data), "every patient's values"),
    ]
    for number, row in enumerate(rows, start=1):
        if time.monotonic() > end:
            parts.append(f"<p>{len(rows) - number + 1} more patients are left out: the page took too long.</p>")
            break
        head = f"Patient {number}, key {html.escape(keys[row][:_KEY_DIGITS])}"
        outcome = "positive" if labels[row] else "negative"
        chance = float(probability(survey.exact.logits[row]))
        parts += [f"<h2>{head}</h2>", f"<p>Outcome {outcome}, predicted {chance:.2f}.</p>"]
        parts += [_image(waterfall(survey.exact, row, data), "values"), *_slices(subject, survey, row)]
    policy = f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
    head = f'<meta charset="utf-8">{policy}<title>Explanations</title><style>{_STYLE}</style>'
    return f"<!doctype html><html lang='en'><head>{head}</head><body>{''.join(parts)}</body></html>"


def _slices(subject: Subject, survey: Survey, row: int) -> Iterator[str]:
    """The scans of a patient with their regions; nothing where there are none."""
    imaging = subject.study.imaging
    if imaging is None or survey.of_columns:
        return
    batch = subject.tensors.batch(np.array([row]))
    images, rois = batch.images[0], batch.rois[0]
    regions = regions_of(images, rois, imaging.grid, subject.study.model.rim_mm or RIM_MM, "fixed")
    masks = images.new_zeros(3, *images.shape)
    masks[:, :, *regions.box] = regions.masks
    players, phi = survey.exact.players, survey.exact.phi[row]
    values: dict[str, tuple[float, float]] = {
        point: (float(phi[players.index(f"{point}_tumour")]), float(phi[players.index(f"{point}_rim")]))
        for point in imaging.time_points
    }
    yield _image(overlay(images.numpy(), masks[0].numpy(), masks[1].numpy(), values), "regions of the scans")


def _image(png: bytes, text: str) -> str:
    return f'<p><img alt="{html.escape(text)}" src="data:image/png;base64,{base64.b64encode(png).decode()}"></p>'
