"""The CloudFormation stack: what it costs, plan, deploy, look, remove."""
