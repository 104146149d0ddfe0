"""Why a miner has its weight, whether it would stand otherwise, and whether a stranger can check it."""
