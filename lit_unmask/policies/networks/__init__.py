"""Networks of learned policies: from observations to logits."""
