"""What the hospital writes: the clinical table and a person's overrides."""
