"""Who builds the parts of a plan: processes of this machine, or workers of a cluster."""
