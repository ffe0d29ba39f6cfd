"""Train: the form, the live plots, the advice."""
