"""Room of the keeper: brings down to a gate what the cloud has for it."""
