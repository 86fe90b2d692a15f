"""Files of published shapes with random weights, for all the others."""
