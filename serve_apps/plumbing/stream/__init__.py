"""The stream: a durable log of what sites sent, written once by committers and read by any number of consumers."""
