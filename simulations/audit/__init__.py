"""Every federated figure once more on the pooled patients, which only a simulation has."""
