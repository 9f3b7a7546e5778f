"""The known data sets, one module each: its facts, and how names of clips are read."""
