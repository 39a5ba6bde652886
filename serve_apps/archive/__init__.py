"""The archive: every decision and event that sites sent, kept in tables for trainings, backtests and people."""
