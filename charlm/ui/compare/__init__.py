"""Compare: one prompt for several models, their texts and numbers side by side."""
