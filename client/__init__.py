"""The hospital's side: intake of local CT and clinical data, local learning, and what may leave."""
