"""The `network` profile: scores a round as the network's existing validator, 1.2.8, scores it.

A plain library like the rest of scoring. What it does, it does to agree with the other validators of the network,
weaknesses included; the `robust` profile is where they are mended.
"""
