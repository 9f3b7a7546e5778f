"""Core of the suite: interfaces of methods and data sets, and the code that executes runs; imports no other folder."""
