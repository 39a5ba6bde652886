"""The door of a site: composition root, command line and HTTP."""
