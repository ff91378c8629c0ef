"""The server: contract, batching, models, and the protocols that clients already speak."""
