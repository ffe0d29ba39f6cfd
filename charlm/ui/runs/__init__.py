"""Runs: every run with its actions, the queue, the trash."""
