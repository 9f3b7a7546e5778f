"""The command line: `main` defines the commands, the other modules run them."""
