"""Small trained denoisers in the original layouts; see ``metrics.json`` in each folder."""
