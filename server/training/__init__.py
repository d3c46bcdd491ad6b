"""The rounds: from the sites' updates to the next weights."""
