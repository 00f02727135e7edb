"""Models: training, evaluation, the model folder with its contract, scoring and explanation."""
