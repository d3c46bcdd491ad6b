"""Where the sites of a simulation run."""
