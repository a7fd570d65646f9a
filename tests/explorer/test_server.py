"""The server answers the page, and nobody else."""

import io
import struct
import zlib
from pathlib import Path

import pytest
from PIL import Image

from tests.explorer.conftest import Client, serving, tiny_clip, tiny_vim
from vitrail.errors import ConfigError
from vitrail.explorer.documents import Explorer
from vitrail.explorer.server import MAX_UPLOAD, make_server


def bomb(side: int) -> bytes:
    """A PNG whose header promises side × side pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        checksum = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(1000))
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    )


def test_the_page_and_its_documents(client: Client, photo: Path) -> None:
    page = client.ask("")
    assert page.status == 200
    assert b"<!doctype html>" in page.body
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    assert client.ask("api/model").json["title"] == "tiny"
    upload = client.ask("api/trace?name=x.png", "POST", photo.read_bytes()).json
    assert upload["title"] == "x.png"
    assert client.ask("api/trace?sample=0").json["id"] == upload["id"]
    key = upload["id"]
    assert client.ask(f"api/attention?id={key}&layer=2").json["array"]["shape"] == [2, 17, 17]
    assert client.ask(f"api/explain?id={key}&name=relevance&target=1").json["target"] == 1


def test_two_models_and_every_view_are_served(photo: Path) -> None:
    clip = tiny_clip()
    second = Explorer(tiny_vim(), "Vim", [photo])
    first = Explorer(clip.backbone, "CLIP", [photo], clip=clip, second=second)
    with serving(first) as server:
        client = Client(server)
        assert client.ask("api/model").json["second"] == "Vim"
        assert client.ask("api/model?model=1").json["title"] == "Vim"
        key = client.ask("api/trace?name=x.png", "POST", photo.read_bytes()).json["id"]
        refused = client.ask(f"api/similarity?id={key}&model=1")
        assert refused.status == 400 and "no such picture" in refused.json["error"]
        client.ask("api/trace?name=x.png&model=1", "POST", photo.read_bytes())
        assert client.ask(f"api/scan?id={key}&layer=1&model=1").json["kind"] == "scan"
        baseline = client.ask(f"api/attention?id={key}&layer=0&baseline=1&model=1").json
        assert baseline["baseline"] is True
        assert client.ask(f"api/walk?id={key}&layer=0&patch=3").json["patch"] == 3
        assert client.ask(f"api/text?id={key}&text=a%20cat").json["text"] == "a cat"


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1", "127.0.0.1:1", "[::1]:80", ""])
def test_another_host_is_refused(client: Client, host: str) -> None:
    answer = client.ask("api/model", headers={"Host": host})
    assert answer.status == 421
    assert "tiny" not in answer.body.decode()


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1:1"])
def test_another_origin_is_refused(client: Client, origin: str, photo: Path) -> None:
    answer = client.ask("api/trace", "POST", photo.read_bytes(), {"Origin": origin})
    assert answer.status == 403


def test_the_pages_own_origin_may_ask(client: Client, photo: Path) -> None:
    origin = f"http://localhost:{client.server.server_port}"
    headers = {"Origin": origin, "Host": origin.removeprefix("http://")}
    assert client.ask("api/trace", "POST", photo.read_bytes(), headers).status == 200


def test_without_the_token_there_is_nothing(client: Client) -> None:
    for base in ("/", "/x/", f"/{client.server.token[:-1]}/", f"/%C3%A9{client.server.token}/"):
        assert client.ask("api/model", base=base).status == 404
    with make_server(client.server.explorer) as other:
        assert other.token != client.server.token
        assert len(other.token) >= 32


@pytest.mark.parametrize(
    "path",
    ["../server.py", "%2e%2e/server.py", "/etc/passwd", "..%2f..%2fcli/main.py", "static/app.js",
     "__init__.py", "noise.png", "app.js/", "api/"],
)  # fmt: skip
def test_no_other_file_can_be_read(client: Client, path: str) -> None:
    answer = client.ask(path)
    assert answer.status == 404
    assert set(answer.json) == {"error"}


def test_bad_pictures_are_one_line(client: Client, photo: Path) -> None:
    pictures = {
        b"": "empty",
        b"<svg/>" * 9: "file: ",
        photo.read_bytes()[:300]: "damaged",
        bomb(60_000): "megapixels",
        b"PK\x03\x04" + bytes(99): "image",
    }
    for data, word in pictures.items():
        answer = client.ask("api/trace?name=file", "POST", data)
        assert answer.status == 400, data[:20]
        message = answer.json["error"]
        assert word in message
        assert "\n" not in message
    assert client.ask("api/trace", "POST", photo.read_bytes()).status == 200


def test_bodies_have_a_limit_and_a_length(client: Client) -> None:
    length = {"Content-Length": str(MAX_UPLOAD + 1)}
    assert client.ask("api/trace", "POST", headers=length).status == 413
    assert client.ask("api/trace", "POST", headers={"Content-Length": "-1"}).status == 411
    chunked = {"Transfer-Encoding": "chunked", "Content-Length": "5"}
    assert client.ask("api/trace", "POST", headers=chunked).status == 411
    assert client.ask("api/model", "POST", b"x").status == 404
    assert client.ask("api/model", "DELETE").status == 501


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("api/attention?id=x&layer=0", "open it again"),
        ("api/attention?id=x&layer=one", "no whole number"),
        ("api/trace?sample=9", "there are 1"),
        ("api/explain?id=x&name=rollout", "open it again"),
        ("api/trace", "no whole number"),
        ("api/walk?id=x&layer=0&patch=one", "no whole number"),
        ("api/walk?id=x&layer=0&patch=0", "open it again"),
        ("api/scan?id=x&layer=0", "open it again"),
        ("api/text?id=x&text=cat", "reads no text"),
        ("api/model?model=1", "no such model"),
        ("api/model?model=../0", "no such model"),
    ],
)
def test_questions_about_nothing_are_one_line(client: Client, path: str, message: str) -> None:
    answer = client.ask(path)
    assert answer.status == 400
    assert message in answer.json["error"]


def test_old_pictures_are_let_go(client: Client, photo: Path) -> None:
    explorer = client.server.explorer
    first = client.ask("api/trace?sample=0").json["id"]
    ids = []
    with Image.open(photo) as image:
        for number in range(24):
            if number == 23:  # what was looked at last is let go last
                assert "error" not in client.ask(f"api/similarity?id={first}").json
            file = io.BytesIO()
            image.rotate(20 + 9 * number).save(file, "png")
            ids.append(explorer.add_picture(file.getvalue(), "x")["id"])
    assert "error" not in client.ask(f"api/similarity?id={first}").json
    assert "open it again" in client.ask(f"api/similarity?id={ids[0]}").json["error"]


def test_only_this_machine_is_served(explorer: Explorer) -> None:
    with make_server(explorer) as server:
        assert server.server_address[0] == "127.0.0.1"
        with pytest.raises(ConfigError, match="cannot be used"):
            make_server(explorer, port=server.server_port)
    for host in ("0.0.0.0", "::", "example.org"):
        with pytest.raises(ConfigError, match="this machine only"):
            make_server(explorer, host=host)
    with pytest.raises(ConfigError, match="65535"):
        make_server(explorer, port=70_000)
