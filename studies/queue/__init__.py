"""Work shared through a database: trials and cells that one process claims, and another finds again when it dies."""
