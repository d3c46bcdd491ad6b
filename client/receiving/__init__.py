"""CTs sent by the PACS: a DICOM storage receiver that writes into the folder which intake reads."""
