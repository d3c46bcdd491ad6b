"""What a CT shows beside its geometry: scale, noise, contrast medium, kernel, coverage."""
