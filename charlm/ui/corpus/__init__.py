"""Corpus: a text as the models will read it."""
