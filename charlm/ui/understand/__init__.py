"""The Understand tab: why the architectures differ, one panel a file."""
