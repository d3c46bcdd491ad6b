"""What client, server and simulations share: study, settings, wire format, model and statistics.

Importing it switches off everything in Flower that contacts the outside: telemetry, update check, runtime installs.
A value that the environment already sets is respected.
"""

import os

QUIET_FLOWER = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
}

for _name, _value in QUIET_FLOWER.items():
    os.environ.setdefault(_name, _value)
