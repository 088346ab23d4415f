"""How fast the engine is, beside two peers and the floor that the arithmetic sets."""
