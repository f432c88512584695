"""How a denoiser's call is laid out, kept, spread and bounded in memory."""
