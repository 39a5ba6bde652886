"""Room of the scorer: from a vector to a margin, a probability and a risk score."""
