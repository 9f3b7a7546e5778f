"""The contract of methods and data sets, and the code that runs them; it imports nothing from the other folders."""
