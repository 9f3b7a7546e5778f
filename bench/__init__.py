"""The contract that methods and data sets meet, and the machine that runs them; it knows nobody above it."""
