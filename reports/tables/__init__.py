"""The tables of papers, made of runs."""
