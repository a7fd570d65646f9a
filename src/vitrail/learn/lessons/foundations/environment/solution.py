import platform
import sys

import torch


def environment_report(seed: int, cuda: bool, mps: bool) -> dict[str, object]:
    """A seed, and whether a CUDA or Apple GPU is there -> versions, device, two draws of (3,)"""
    # <write>
    # en: 1. python: the version of Python as a short text such as "3.11.9"; version: that of torch.
    # zh: 1. python：Python 版本号，形如 "3.11.9"；version：torch 的版本号。
    python = platform.python_version()
    version = torch.__version__
    # en: 2. device: "cuda" where there is one, else "mps", else "cpu".
    # zh: 2. device：有 CUDA 用 "cuda"，否则有 MPS 用 "mps"，否则 "cpu"。
    device = "cuda" if cuda else "mps" if mps else "cpu"
    # en: 3. first, again: three uniform numbers each, both from a new generator with the seed. The
    # en: global random numbers stay as they are.
    # zh: 3. first、again：各三个均匀分布的数，每次都用以该种子新建的 generator；不影响全局随机数。
    generator = torch.Generator().manual_seed(seed)
    first = torch.rand(3, generator=generator)
    generator = torch.Generator().manual_seed(seed)
    again = torch.rand(3, generator=generator)
    # </write>
    return {
        "python": str(python),
        "torch": str(version),
        "device": str(device),
        "first": first,
        "again": again,
    }


if __name__ == "__main__":
    report = environment_report(0, torch.cuda.is_available(), torch.backends.mps.is_available())
    for name, value in report.items():
        sys.stdout.write(f"{name:8} {value}\n")
