"""What a run will be, what it takes and what it lacks, before anything of it is loaded."""
