"""What runs inside jobs and containers: text in, a trained and verified model out.

Nothing here knows of AWS, of the pipeline or of the web; it meets them through files.
"""
