"""The journal of a gate: every record durable before it is answered, every damage found and told."""
