"""Trainings in the background: one run, races, the queue."""
