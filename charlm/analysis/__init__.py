"""Measurements of texts and trained models, one per file."""
