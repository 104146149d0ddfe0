"""Scoring stored challenges again: from their tables alone, under today's parameters or others."""
