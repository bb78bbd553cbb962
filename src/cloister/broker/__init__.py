"""The key broker, a relying party: it releases secrets to attested programs, and keeps account of it."""
