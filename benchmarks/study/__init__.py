"""The study: what is trained, how it is evaluated, and the tables that are made of it."""
