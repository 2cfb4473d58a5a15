"""A&B BNN: binary networks without batch normalisation, with power-of-two slopes."""
