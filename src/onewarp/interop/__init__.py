"""Other libraries inside a pipeline of ours; each is optional, and imported by whoever uses it."""
