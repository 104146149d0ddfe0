"""From emissions to proposed shares: pure rules, each of which says what it did, and checks of the result."""
