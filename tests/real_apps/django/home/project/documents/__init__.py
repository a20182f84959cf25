"""Documents that visitors put up."""
