"""The school: datasets, the contextual constraint, recipes, training, evaluation and export."""
