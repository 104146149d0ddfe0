"""Access to the chain: the port, its adapters, weight planning and wallets."""
