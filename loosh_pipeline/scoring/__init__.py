"""Scoring as a plain library: numpy, scipy and scikit-learn; no IO, no clock, no randomness.

Imports nothing of the project but `domain`, so that an auditor can run it alone. A round or a parameter that
makes no sense raises `ValueError`, which names the value; a response that cannot be scored is a row with a reason.
"""
