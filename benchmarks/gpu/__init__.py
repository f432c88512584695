"""The GPU check: what ``benchmarks/gpu_check.py`` runs, one section a file."""
