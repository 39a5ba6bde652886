"""The applications of the cloud, one Ray Serve application a room. The first, ingest, comes with the tide."""
