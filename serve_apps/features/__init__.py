"""Features between sites: the one log of deltas, the state that it folds into, and the door to both."""
