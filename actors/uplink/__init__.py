"""The uplink of a site: sends what its gates journaled to the cloud, whole and once, whenever there is a way."""
