"""The coordinator's side: rounds, aggregation and the report."""
