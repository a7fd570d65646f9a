"""Tiny models with a server in a thread."""

import contextlib
import http.client
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from PIL import Image

import vitrail
from tests.explorer.browser import axe as axe
from tests.explorer.browser import headless_browser
from vitrail.explorer.documents import Explorer
from vitrail.explorer.server import ExplorerServer, make_server


def tiny_vit() -> vitrail.ViT:
    """A ViT with a 4 × 4 grid whose attention is far from uniform."""
    torch.manual_seed(0)
    model = vitrail.ViT(32, 8, num_classes=3, dim=16, depth=3, heads=2, mlp_dim=32).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 2 and "head" not in name:
                parameter.mul_(20)
        model.head.weight.normal_()
    model.labels = ["cat", "dog", "猫头鹰"]
    return model


def tiny_vim() -> vitrail.VisionMamba:
    """A Vision Mamba with a 4 × 4 grid."""
    torch.manual_seed(0)
    return vitrail.VisionMamba(32, 8, num_classes=3, dim=16, depth=2).eval()


def tiny_clip() -> vitrail.methods.CLIP:
    """A CLIP whose words are the lengths of texts."""

    def tokenizer(texts: list[str]) -> torch.Tensor:
        return torch.tensor([[len(text) % 13, 15] for text in texts])

    tokenizer.vocabulary, tokenizer.context, tokenizer.end = 16, 2, 15  # type: ignore[attr-defined]
    torch.manual_seed(0)
    backbone = vitrail.ViT(32, 8, num_classes=0, dim=16, depth=1, heads=2, mlp_dim=16, pool="mean")
    clip = vitrail.methods.CLIP(
        backbone, tokenizer, embed_dim=8, text_dim=8, text_depth=1, text_heads=2
    )
    return clip.eval()


def picture(folder: Path, name: str = "noise.png") -> Path:
    """A picture of noise on a gradient."""
    generator = torch.Generator().manual_seed(1)
    noise = torch.randint(0, 90, (40, 48, 3), generator=generator)
    ramp = torch.arange(48)[None, :, None] * 3
    pixels = (noise + ramp).to(torch.uint8).numpy()
    Image.fromarray(pixels).save(folder / name)
    return folder / name


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Client:
    """Requests to a server, with headers as a browser sends them unless they are given."""

    def __init__(self, server: ExplorerServer) -> None:
        self.server, self.base = server, f"/{server.token}/"

    def ask(
        self,
        path: str,
        method: str = "GET",
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
        base: str | None = None,
    ) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.server.server_port, timeout=20)
        connection.request(
            method, (self.base if base is None else base) + path, body, headers or {}
        )
        response = connection.getresponse()
        answer = Answer(response.status, dict(response.getheaders()), response.read())
        connection.close()
        return answer


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """A picture."""
    return picture(tmp_path)


@pytest.fixture
def explorer(photo: Path) -> Explorer:
    """A tiny ViT with a picture to begin with."""
    return Explorer(tiny_vit(), "tiny", [photo])


@contextlib.contextmanager
def serving(explorer: Explorer) -> Iterator[ExplorerServer]:
    """A server in a thread."""
    with make_server(explorer) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def client(explorer: Explorer) -> Iterator[Client]:
    """A client of a running server."""
    with serving(explorer) as server:
        yield Client(server)


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """A headless Chromium that speaks English."""
    with headless_browser() as driver:
        yield driver
