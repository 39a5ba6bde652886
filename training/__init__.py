"""The training jobs: generated and recorded payments in, a signed-off model bundle out."""
