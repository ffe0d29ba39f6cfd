"""Runs on the Hugging Face Hub: pushed as model repositories and as Spaces, pulled as a stranger's files."""
