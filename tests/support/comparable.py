"""Results without what no two runs share."""

import json


def without_times(results):
    """Results as JSON would give them back, without any duration."""
    document = json.loads(
        json.dumps(results), object_hook=lambda entry: {k: v for k, v in entry.items() if k != "seconds"}
    )
    document.pop("timing")
    return document
