"""Answers the web: reviews in, verdicts out, by way of the SageMaker endpoint."""
