"""The vocabulary of Tidegate: the words that the edge, the cloud and the training jobs must agree on."""

__version__ = "0.1.0"
