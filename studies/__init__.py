"""What is asked of the suite: arms, cells, studies and the command line; the only layer that knows everything."""
