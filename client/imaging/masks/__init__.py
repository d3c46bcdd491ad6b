"""Regions of interest from every format, voxel for voxel on a CT's grid."""
