"""Entry scripts of the pipeline's jobs: parse, then call `model`."""
