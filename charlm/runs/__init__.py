"""The run folder: written, read, listed, continued."""
