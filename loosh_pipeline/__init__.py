"""A Bittensor subnet validator for LLM inference evaluation in which evaluations are Dagster assets."""
