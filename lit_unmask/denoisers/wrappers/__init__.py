"""Denoisers that change what another one says."""
