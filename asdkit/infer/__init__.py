"""Trained experiments, opened and used."""
