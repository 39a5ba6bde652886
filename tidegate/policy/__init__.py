"""The policy: what a site makes of a probability, its lists and its rules. Data, checked whole before it decides."""
