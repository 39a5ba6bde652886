"""A client of a site's door, for whoever calls from Python. Needs the dependency group `client`, and no server."""
