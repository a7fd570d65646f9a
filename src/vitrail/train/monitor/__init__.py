"""The health of a run: what is measured while it trains, and the warnings that follow."""
