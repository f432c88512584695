"""Turns results stores into tables, figures and one self-contained page; decodes nothing."""
