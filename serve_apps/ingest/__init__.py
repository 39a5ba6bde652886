"""Ingest: takes in what the sites journaled, whole and once, and knows what it doesn't have yet."""
