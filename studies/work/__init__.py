"""From a study to its runs: the plan, what of it is left, and the processes that do it."""
