"""Export formats, and imports of files that other programs wrote."""
