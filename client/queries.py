"""How many questions this site has answered, by study, run and kind: for good, in ``queries.sqlite``.

Each is counted before it is answered. Budgets: `fedescc.common.disclosure.budget`.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from fedescc.client.lasting import Lasting
from fedescc.common.disclosure.budget import Budget, budget_of, spent
from fedescc.common.errors import Refusal
from fedescc.common.wire import Request

FILE = "queries.sqlite"
SPENT = "query-budget-spent"

_SCHEMA = (
    """CREATE TABLE IF NOT EXISTS question (study TEXT, run TEXT, kind TEXT, digest BLOB,
    PRIMARY KEY (study, run, kind, digest)) WITHOUT ROWID""",
    """CREATE TABLE IF NOT EXISTS only_one (place TEXT, model TEXT, kind TEXT, digest TEXT NOT NULL,
    PRIMARY KEY (place, model, kind)) WITHOUT ROWID""",
    """CREATE TABLE IF NOT EXISTS asked (study TEXT, run TEXT, kind TEXT, times INTEGER NOT NULL,
    PRIMARY KEY (study, kind, run)) WITHOUT ROWID""",
)
_KNOWN = "SELECT 1 FROM question WHERE study = ? AND run = ? AND kind = ? AND digest = ?"
_TIMES = "SELECT run, times FROM asked WHERE study = ? AND kind = ?"
_ONE_MORE = """INSERT INTO asked VALUES (?, ?, ?, 1)
ON CONFLICT (study, kind, run) DO UPDATE SET times = times + 1"""


class Queries:
    """The count of different questions that were answered.

    Args:
        folder: of the site, where the count lasts; None keeps it in memory.

    """

    def __init__(self, folder: Path | None = None) -> None:
        self._store = Lasting(None if folder is None else folder / FILE, _SCHEMA)

    def charge(self, message_type: str, request: Request, patients: str, own: Mapping[str, Budget]) -> None:
        """Count a question, unless it is the same as one before.

        Args:
            message_type: its kind.
            request: the question.
            patients: identity of the patients as they are now: of others, the same words are another question.
            own: budgets of the site's policy, by kind.

        Raises:
            Refusal: ``query-budget-spent``; or ``lost-records``.

        """
        row = request.study_sha256, run_of(request), message_type
        digest = question_digest(request, patients)
        budget = budget_of(message_type, own)
        with self._store.transaction() as connection:
            if connection.execute(_KNOWN, (*row, digest)).fetchone():
                return
            times: dict[str, int] = dict(connection.execute(_TIMES, (request.study_sha256, message_type)).fetchall())
            if spent(times.get(run_of(request), 0), sum(times.values()), budget):
                what = f"{sum(times.values())} questions of {message_type} were answered; the budget is {budget}"
                raise Refusal(SPENT, what, "raise policy.query_budget at the site, if the study needs more")
            connection.execute("INSERT INTO question VALUES (?, ?, ?, ?)", (*row, digest))
            connection.execute(_ONE_MORE, row)

    def only(self, place: str, model: str, kind: str, digest: str, most_models: int) -> bool:
        """Whether a model's one question of a kind is this one: none was asked before, or this.

        Args:
            place: of a run's fold, and what is asked of its models.
            model: its digest.
            kind: of the question.
            digest: of what is asked.
            most_models: that are asked of in one place.

        Raises:
            Refusal: ``lost-records``.

        """
        with self._store.transaction() as connection:
            rows = connection.execute("SELECT model, kind, digest FROM only_one WHERE place = ?", (place,)).fetchall()
            known = {(row[0], row[1]): row[2] for row in rows}
            if (model, kind) in known:
                return bool(known[model, kind] == digest)
            if len({row[0] for row in rows} | {model}) > most_models:
                return False
            connection.execute("INSERT INTO only_one VALUES (?, ?, ?, ?)", (place, model, kind, digest))
            return True


def run_of(request: Request) -> str:
    """The run that a request names; "" where it names none."""
    return str(request.task.get("run") or "")


def question_digest(request: Request, patients: str) -> bytes:
    """What a question is: everything that a reply can depend on, and whom it speaks of."""
    digest = hashlib.sha256(json.dumps([patients, request.task], sort_keys=True).encode())
    if request.weights is not None:
        digest.update(np.ascontiguousarray(request.weights).data)
    return digest.digest()[:16]
