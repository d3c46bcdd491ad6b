"""Patterns of the names and codes that travel."""

import re

CODE = re.compile(r"[a-z][a-z0-9_:-]{0,59}")  # of a reason or an error; safe to send and log
SITE_NAME = re.compile(r"[a-z][a-z0-9-]{0,39}")
POOLED = "pooled"  # means all sites together in results, so no site may be called so
