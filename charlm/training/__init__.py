"""Training as a generator of metrics, and evaluation; no thread, no file, no page."""
