"""Deploys what the registry has approved: observe, plan, apply, until there is nothing to do."""
