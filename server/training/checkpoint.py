"""A run's progress on disk: one safetensors file after every round, old or new, never half.

The arrays are the model, the strategy's vectors and, where it is to be kept, the best model; the metadata holds the
round records and what the run is: study, version and everything the requests say. Only the same run goes on from it.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from fedescc.common.arrays import load_safetensors, save_safetensors
from fedescc.common.errors import Refusal
from fedescc.common.files import flush_to_disk
from fedescc.common.wire import Request, installed_version
from fedescc.server.strategies.state import ServerState
from fedescc.server.training.progress import Progress
from fedescc.server.training.records import from_entry, to_entry

_FORMAT = "fedescc-checkpoint-1"
_NAME = "checkpoint.safetensors"
_WEIGHTS, _BEST, _SLOT = "weights", "best_weights", "slot."
_SHOWN = 5


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoint of one training: of a run, or of one of its folds.

    Args:
        folder: its own; made when absent.
        request: study hash and task of the training requests, as `Rounds` gets them; the fold is part of the task.
        more: whatever else the result depends on, as JSON values: the digest of a warm start, for example.

    """

    folder: Path
    request: Request
    more: Mapping[str, Any] = field(default_factory=dict)

    @property
    def path(self) -> Path:
        """The file."""
        return self.folder / _NAME

    def save(self, progress: Progress) -> None:
        """Replace the checkpoint; from then on it survives a loss of power.

        Raises:
            Refusal: ``unwritable-checkpoint``.

        """
        records = [to_entry(record) for record in progress.records]
        metadata = {"format": _FORMAT, "run": progress.run, "round": str(progress.state.round)}
        metadata |= {"identity": json.dumps(self._identity()), "records": json.dumps(records)}
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            save_safetensors(self.path, _arrays(progress), metadata)
            flush_to_disk(self.folder)
        except OSError as error:
            what = f"{self.path} could not be written ({type(error).__name__})"
            raise Refusal("unwritable-checkpoint", what, "free space or give another folder") from error

    def load(self) -> Progress | None:
        """The progress of this very training, or None where no checkpoint lies.

        Raises:
            Refusal: it is damaged, or of another study, version or setting.

        """
        if not self.path.exists():
            return None
        arrays, metadata = load_safetensors(self.path)
        try:
            if metadata["format"] != _FORMAT:
                raise KeyError(_FORMAT)
            self._require_same(json.loads(metadata["identity"]))
            slots = {name.removeprefix(_SLOT): slot for name, slot in arrays.items() if name.startswith(_SLOT)}
            state = ServerState(arrays[_WEIGHTS], slots, int(metadata["round"]))
            records = tuple(from_entry(entry) for entry in json.loads(metadata["records"]))
            return Progress(metadata["run"], state, records, arrays.get(_BEST))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            todo = "delete it to start anew"
            raise Refusal("damaged-checkpoint", f"{self.path} is not a whole checkpoint", todo) from error

    def _identity(self) -> dict[str, Any]:
        return {
            "study": self.request.study_sha256,
            "version": installed_version(),
            **self.request.task,
            **self.more,
        }

    def _require_same(self, stored: dict[str, Any]) -> None:
        then, now = _flat(stored), _flat(json.loads(json.dumps(self._identity())))
        odd = sorted(key for key in then.keys() | now.keys() if then.get(key) != now.get(key))
        if odd:
            shown = ", ".join(odd[:_SHOWN]) + (f" and {len(odd) - _SHOWN} more" if len(odd) > _SHOWN else "")
            todo = "run with what it was made with, or start anew in another folder"
            raise Refusal("checkpoint-of-another-run", f"{self.path} differs in: {shown}", todo)


def _arrays(progress: Progress) -> dict[str, NDArray[Any]]:
    slots = {_SLOT + name: slot for name, slot in progress.state.slots.items()}
    best = {} if progress.best_weights is None else {_BEST: progress.best_weights}
    return {_WEIGHTS: progress.state.weights, **slots, **best}


def _flat(document: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested keys joined by dots; a leaf is anything but a dictionary."""
    found: dict[str, Any] = {}
    for key, value in document.items():
        found |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return found
