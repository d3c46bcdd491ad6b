"""Functions that other processes can import."""

import os


def square(value: int) -> int:
    """The square; 5 ends its process, as a decoder does that writes beyond its memory."""
    if value == 5:
        os._exit(7)
    return value * value


def whose(_: int) -> int:
    """The number of the process that it runs in."""
    return os.getpid()
