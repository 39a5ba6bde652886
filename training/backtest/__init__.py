"""Backtests: a policy tried on what was decided before, beside what became of it."""
