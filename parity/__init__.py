"""Models here beside their originals, for the tests and the benchmarks. Not part of the package.

timm, vit-pytorch and transformers import torchvision. Importing `parity` makes that possible where
torchvision's compiled part does not load, so import it before any of them.
"""

from parity import torchvision_operators as torchvision_operators
