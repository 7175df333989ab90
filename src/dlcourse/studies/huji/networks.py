"""Depth, activations, dropout, pooling and optimizers on MNIST."""

from pandas import DataFrame


def derive(table: DataFrame) -> DataFrame:
    """With the columns `depth`, the number of hidden layers, and `setting`, a block with its rate."""
    hidden = table["model.net.hidden"].fillna("").astype(str)
    settings = table["block"] + ", " + table["optimizer.lr"].map("{:g}".format)
    return table.assign(depth=hidden.map(lambda text: len([w for w in text.split(",") if w])), setting=settings)
