"""Canaries: challenges whose answers are known, put in by the validator itself, to see who answers rightly."""
