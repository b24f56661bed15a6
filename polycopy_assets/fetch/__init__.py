"""From a list of wallets to durable segments: plan, walk, write; many wallets at once."""
