"""Experiments: trainings that together answer a question."""
