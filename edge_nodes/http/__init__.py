"""The HTTP door of a site."""
