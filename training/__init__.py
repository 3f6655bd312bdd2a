"""Training: datasets, the contextual constraint, recipes, training runs, evaluation and export."""
