"""MART as its authors released it, on a harness without the defects that are no part of the method."""
