"""results.json as a self-contained HTML report."""
