"""Clinical covariates and image features as columns, by governed sums of all sites."""
