"""The command line: `main` has every command, each other module runs some of them."""
