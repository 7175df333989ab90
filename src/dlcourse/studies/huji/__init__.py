"""HUJI APML, "Convolutional Nets", two reports: toy functions, three networks on MNIST, learning rates, a 2-D code."""
