"""The slow steps: each claims a batch of rows, works, and writes its results and the next state in one transaction."""
