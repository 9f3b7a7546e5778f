"""The data sets: each a card of facts and a way from a folder of media to clips that can be opened."""
