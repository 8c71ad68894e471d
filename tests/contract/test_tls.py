"""A server whose certificate nobody vouches for gets no request, and so no key; what it would have said is no answer."""

import asyncio
import shutil
import ssl
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

import pytest

from evalkit.engines.openai import OpenAI
from evalkit.errors import Gap

from .engines import answer
from .server import Reply, Rig, Server, text_only

pytest.importorskip("openai")
Certified = Callable[..., Path]


class Secure(Server):
    """The server over HTTPS, with a certificate and its key in one file."""

    def __init__(self, certificate: Path) -> None:
        super().__init__(lambda number, body: Reply("let in"))
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(certificate)

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}/v1"

    def __enter__(self) -> Self:
        self._thread.start()
        made = asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._context)
        self._server = asyncio.run_coroutine_threadsafe(made, self._loop).result()
        self.port = self._server.sockets[0].getsockname()[1]
        return self


@pytest.fixture(scope="module")
def certified(tmp_path_factory: pytest.TempPathFactory) -> Certified:
    """Makes a certificate that vouches for itself, of a name or address, with its key, in one file."""
    if not shutil.which("openssl"):
        pytest.skip("needs the command openssl, to make a certificate")
    folder = tmp_path_factory.mktemp("certificates")

    def make(name: str, *more: str) -> Path:
        path = folder / f"{name.replace(':', ' ')}{len(more)}.pem"
        words = ["req", "-x509", "-nodes", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-subj", "/CN=test"]
        words += ["-addext", f"subjectAltName={name}", "-keyout", str(path), "-out", f"{path}.cert", *more]
        subprocess.run(["openssl", *words], check=True, capture_output=True)
        path.write_text(path.read_text() + Path(f"{path}.cert").read_text())
        return path

    return make


@pytest.fixture
def rig(monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    """Servers and engines of one test, on a machine without certificates of its own."""
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
    with Rig() as made:
        yield made


def engine(rig: Rig, certificate: Path) -> tuple[OpenAI, Secure]:
    """An engine as the command line makes it, with a key, on a server with that certificate."""
    server = Secure(certificate).__enter__()
    rig.made.append(server)
    return rig.engine(server, api_key="sk-a-key-that-nobody-sees", attempts=2), server


def test_a_server_that_vouches_for_itself_is_sent_nothing_and_gives_no_answer(rig: Rig, certified: Certified) -> None:
    asking, server = engine(rig, certified("IP:127.0.0.1"))
    with pytest.raises(Gap, match=r"certificate verify failed: self.signed certificate.*SSL_CERT_FILE="):
        answer(asking, text_only())
    assert server.connections == 0, "the handshake was finished"
    assert not server.arrived


def test_so_is_one_whose_certificate_is_trusted_and_another_s(rig: Rig, certified: Certified, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate = certified("DNS:elsewhere.example")
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    asking, server = engine(rig, certificate)
    with pytest.raises(Gap, match=r"certificate verify failed: .* not valid for '127.0.0.1'"):
        answer(asking, text_only())
    assert not server.arrived


def test_one_that_the_machine_trusts_answers(rig: Rig, certified: Certified, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the others are refused for is the certificate alone."""
    certificate = certified("IP:127.0.0.1")
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    asking, server = engine(rig, certificate)
    assert answer(asking, text_only()).text == "let in"
    assert server.arrived[0].headers["authorization"] == "Bearer sk-a-key-that-nobody-sees"
