"""Training, evaluation and explanation on one site's own patients."""
