"""From an encoder's tokens to one embedding per clip."""
