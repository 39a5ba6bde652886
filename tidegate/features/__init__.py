"""Features: declared once, computed by one kernel over state that merges, for edge, cloud and training alike."""
