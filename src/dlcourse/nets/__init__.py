"""The networks: plain `nn.Module`s with plain arguments. They know neither Lightning nor a config.

A wrong argument raises ValueError, and its text starts with the argument's name: "hidden: widths are ...".
"""

from dlcourse.nets.autoencoder import Autoencoder
from dlcourse.nets.cnn import CNN
from dlcourse.nets.layers import activations, initialisations, initialise
from dlcourse.nets.mlp import MLP
from dlcourse.nets.neighbours import Neighbours
from dlcourse.nets.pretrained import Pretrained
from dlcourse.nets.toy import ToyConvNet
from dlcourse.nets.weights import find_weights, read_weights

__all__ = [
    "CNN",
    "MLP",
    "Autoencoder",
    "Neighbours",
    "Pretrained",
    "ToyConvNet",
    "activations",
    "find_weights",
    "initialisations",
    "initialise",
    "read_weights",
]
