"""Moving in: what an existing validator knows, so that a switch does not start from nothing."""
