"""Which clips there are: lists, annotations and folders, with every name kept inside the data folder."""
