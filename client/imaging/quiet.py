"""Keep pydicom's remarks off the screen."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from threading import Lock

_lock = Lock()
_users = 0
_silence = ExitStack()


@contextmanager
def quiet_pydicom() -> Iterator[None]:
    """Silence pydicom's warnings and log messages, which quote values and so may show a patient's.

    What matters of an irregular file is judged, with a code, by fedescc. Warning filters belong to the process, so the
    first of several threads sets them and the last restores them.
    """
    global _users  # noqa: PLW0603  the filters and the logger are global themselves
    with _lock:
        if _users == 0:
            _silence.enter_context(warnings.catch_warnings())
            warnings.simplefilter("ignore")
            logger = logging.getLogger("pydicom")
            _silence.callback(logger.setLevel, logger.level)
            logger.setLevel(logging.CRITICAL + 1)
        _users += 1
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if _users == 0:
                _silence.close()
