"""From a folder of DICOM files and a clinical table to the tensors a site trains on."""
