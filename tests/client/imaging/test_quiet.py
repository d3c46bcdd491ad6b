"""pydicom's remarks are silenced, and only while a file is read."""

import logging
import warnings
from threading import Event, Thread

import pytest

from fedescc.client.imaging.quiet import quiet_pydicom


def test_warnings_and_messages_are_silent_inside_and_heard_outside(caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("pydicom")
    before = (list(warnings.filters), logger.level)
    with quiet_pydicom():
        warnings.warn("value of a patient", UserWarning, stacklevel=1)
        logger.warning("value of a patient")
    assert caplog.text == ""
    assert (list(warnings.filters), logger.level) == before
    with pytest.warns(UserWarning, match="heard"):
        warnings.warn("heard", UserWarning, stacklevel=1)


def test_filters_are_restored_when_threads_overlap() -> None:
    """A enters, B enters, A leaves, B leaves: each restoring what it saw would leave the filters off for good."""
    before = list(warnings.filters)
    entered, left = Event(), Event()

    def other() -> None:
        with quiet_pydicom():
            entered.set()
            left.wait(5)
            warnings.warn("still silent", UserWarning, stacklevel=1)

    thread = Thread(target=other)
    with quiet_pydicom():
        thread.start()
        assert entered.wait(5)
    left.set()
    thread.join()
    assert list(warnings.filters) == before


def test_filters_are_restored_after_an_error() -> None:
    before = list(warnings.filters)
    with pytest.raises(ValueError, match="corrupt"), quiet_pydicom():
        raise ValueError("corrupt")
    assert list(warnings.filters) == before
