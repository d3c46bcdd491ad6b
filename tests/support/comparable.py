"""Results without what no two runs share."""

import json

_OF_ONE_RUN = ("seconds", "opened_at", "looks")  # looks are digests of the run's random id too


def without_times(results):
    """Results as JSON would give them back, without any duration, time of day or trace of the run's id."""
    document = json.loads(
        json.dumps(results), object_hook=lambda entry: {k: v for k, v in entry.items() if k not in _OF_ONE_RUN}
    )
    document.pop("timing")
    return document
