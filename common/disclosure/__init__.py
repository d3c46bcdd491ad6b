"""What may be told of patients: minimum cells, dominance, secondary suppression, budgets, rounding."""
