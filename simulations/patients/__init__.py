"""Synthetic patients, from their latent causes to DICOM and tensors."""
