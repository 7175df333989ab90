"""Principal components, as a code to hold an autoencoder's against."""

import torch
from torch import Tensor


class PCA:
    """The projection on the k directions of the largest variance, with what an autoencoder has: encode, decode.

    x: the training images [N, ...]. Computed in float64.
    """

    def __init__(self, x: Tensor, k: int) -> None:
        flat = x.flatten(1).double()
        self.shape, self.mean = x.shape[1:], flat.mean(0)
        self.directions = torch.linalg.eigh(torch.cov(flat.T)).eigenvectors[:, -k:].flip(1)  # [D, k]

    def encode(self, x: Tensor) -> Tensor:
        """Images [B, ...] -> [B, k], the largest variance first."""
        return ((x.flatten(1).double() - self.mean) @ self.directions).float()

    def decode(self, z: Tensor) -> Tensor:
        """[B, k] -> images [B, ...]"""
        return (z.double() @ self.directions.T + self.mean).float().unflatten(1, self.shape)

    def reconstruct(self, x: Tensor) -> Tensor:
        """Images from their principal components alone."""
        return self.decode(self.encode(x))
