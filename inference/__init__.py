"""What serves a model version: the hooks it carries along, and the server that calls them."""
