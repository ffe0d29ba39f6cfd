"""Runs that leave this program and come into it: formats of export, and files of others made into runs."""
