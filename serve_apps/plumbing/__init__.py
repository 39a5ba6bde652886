"""What the cloud's applications share: the stream that carries what sites journaled from one to the others."""
