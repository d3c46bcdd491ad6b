"""From a folder of DICOM files to CT volumes in HU, ROI masks on their grid, and tensors on the model's grid."""
