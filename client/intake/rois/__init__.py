"""Which mask is which patient's ROI, the tumour bed, and a second reader's."""
