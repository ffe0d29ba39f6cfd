"""From bytes to batches: corpora read, cleaned, kept, and cut into streams of ids."""
