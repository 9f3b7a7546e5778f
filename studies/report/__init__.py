"""Which runs answer a study, under which names, and what is written of them."""
