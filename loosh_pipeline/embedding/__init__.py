"""Turning texts into unit vectors: the pinned model, its server and client, and what a round stores of them."""
