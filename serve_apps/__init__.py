"""The applications of the cloud, one Ray Serve application a room, and the plumbing that they share."""
