"""The search for the best values on val: ranges, samplers, pruners, trials and the winner."""
