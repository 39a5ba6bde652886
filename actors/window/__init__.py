"""Room of the window: what a site remembers of its cards and terminals."""
