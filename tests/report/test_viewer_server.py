"""What the viewer's server answers, and what it refuses: other sites, other names, other files."""

import http.client
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from evalkit.errors import UserError
from evalkit.report.viewer.server import Server
from evalkit.report.viewer.viewed import Viewed
from tests.report.browser.folders import ended, picture, record, row


@contextmanager
def serving(*paths: Path) -> Iterator[Server]:
    """A server of these runs, their rows read, in a thread of its own."""
    runs = [Viewed(path) for path in paths]
    for run in runs:
        run.index.read()
    with Server(runs, 0) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def get(server: Server, path: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], bytes]:
    """The answer to a request whose headers are just these, and Host where it is not among them."""
    with closing(http.client.HTTPConnection(*server.server_address[:2], timeout=20)) as connection:
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        sent = {"Host": f"127.0.0.1:{server.server_address[1]}"} | {name.replace("_", "-"): value for name, value in headers.items()}
        for name, value in sent.items():
            connection.putheader(name, value)
        connection.endheaders()
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    photo = picture(tmp_path / "photo.png", 30, 20)
    return ended(tmp_path / "run", [row("1", images=[photo]), row("2")], [record("1"), record("2", correct=0.0)])


def test_everything_the_page_asks_for_is_answered(toy: Path) -> None:
    with serving(toy) as server:
        assert json.loads(get(server, "/runs")[2])[0]["rows"] == 2
        assert len(json.loads(get(server, "/index/0/0")[2])["rows"]) == 2
        assert json.loads(get(server, "/row/0/1")[2])["records"][0]["correct"] == 0
        assert json.loads(get(server, "/about/0")[2])["numbers"][0]["value"] == 0.5
        for path, kind in (("/image/0/0/0", "image/png"), ("/thumb/0/0?1", "image/jpeg"), ("/", "text/html; charset=utf-8")):
            status, headers, body = get(server, path)
            assert (status, headers["Content-Type"], bool(body)) == (200, kind, True)


def test_it_is_bound_to_loopback_alone(toy: Path) -> None:
    with serving(toy) as server:
        assert server.server_address[0] == "127.0.0.1"


def test_every_answer_forbids_what_a_page_could_be_made_to_do(toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Errors of every kind too: a path that is none, a site that is refused, a method, a broken task's file, no HTTP at all."""
    monkeypatch.setattr(Viewed, "about", lambda run: {}["a bug"])
    with serving(toy) as server:
        answers_ = [(status, get(server, path)) for status, path in ((200, "/"), (200, "/main.js"), (200, "/runs"), (200, "/image/0/0/0"))]
        answers_ += [(404, get(server, "/nothing")), (403, get(server, "/runs", Host="evil.example")), (500, get(server, "/about/0"))]
        answers_ += [(501, get(server, "/runs", "POST")), (414, get(server, f"/{'x' * 70_000}"))]
        for expected, (status, headers, _) in answers_:
            assert status == expected
            assert headers["X-Content-Type-Options"] == "nosniff"
            assert headers["X-Frame-Options"] == "DENY"
            assert headers["Referrer-Policy"] == "no-referrer"
            assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
            assert headers["Content-Security-Policy"].startswith("default-src 'none'")
            assert "unsafe" not in headers["Content-Security-Policy"]
        page = get(server, "/")[1]["Content-Security-Policy"]
        assert "script-src 'self'" in page and "require-trusted-types-for 'script'" in page
        with closing(socket.create_connection(server.server_address[:2], timeout=20)) as connection:
            connection.sendall(b"GET /runs nonsense HTTP/1.1\r\n\r\n")
            answer = b"".join(iter(lambda: connection.recv(4096), b""))
        assert answer.startswith(b"HTTP/1.1 400") and b"Content-Security-Policy: default-src 'none'" in answer


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "evil.example:7331"},
        {"Host": "127.0.0.1.evil.example:7331"},
        {"Host": ""},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost:1"},
        {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "no-cors", "Sec_Fetch_Dest": "image"},
        {"Sec_Fetch_Site": "same-site"},
    ],
)
def test_requests_of_other_sites_and_by_other_names_are_refused(toy: Path, headers: dict[str, str]) -> None:
    with serving(toy) as server:
        for path in ("/runs", "/row/0/0", "/image/0/0/0"):
            status, _, body = get(server, path, **headers)
            assert (status, b"expected" in body, b"What is" in body) == (403, True, False)


def test_this_machines_own_names_a_forwarded_port_and_a_link_from_elsewhere_are_welcome(toy: Path) -> None:
    with serving(toy) as server:
        for host in ("localhost:9999", "127.0.0.1", "[::1]:80"):
            assert get(server, "/runs", Host=host)[0] == 200
        assert get(server, "/runs", Origin=f"http://127.0.0.1:{server.server_address[1]}")[0] == 200
        opened = {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "navigate", "Sec_Fetch_Dest": "document"}
        assert get(server, "/", **opened)[0] == 200
        assert get(server, "/runs", **opened)[0] == 403


@pytest.mark.parametrize(
    "path",
    [
        "/../manifest.json",
        "/static/../rows.py",
        "/%2e%2e/manifest.json",
        "/%252e%252e/manifest.json",
        "/%252e%252e%252fmanifest.json",
        "/..%5c..%5cmanifest.json",
        "/./manifest.json",
        "//etc/passwd",
        "///etc/passwd",
        "/etc/passwd",
        "/%2fetc%2fpasswd",
        "file:///etc/passwd",
        "http://evil.example/etc/passwd",
        "/run/secret.txt",
        "/secret",
        "/secret/secret.txt",
        "/main.js/../../rows.py",
        "/image/0/0/0/secret",
        "/image/0/0/0%00",
        "/image/0/0/0/../../../run.log",
        "/image/0/0/..%2f..%2fmanifest.json",
        "/row/0/-1",
        "/row/0/1e3",
        "/row/0/99",
        "/row/7/0",
        "/image/0/0/9",
        "/image/0/1/0",
        "/plot/0/0000000000001",
        "/manifest.json",
        "/rows.py",
    ],
)
def test_nothing_but_the_runs_own_rows_can_be_asked_for(toy: Path, path: str) -> None:
    """Not by a way up, plain or encoded once or twice, not by a whole path, not by a link that leads out of the run's folder."""
    outside = toy.parent / "outside"
    outside.mkdir()
    (outside / "secret.txt").write_text("format of a secret")
    (toy / "secret").symlink_to(outside, target_is_directory=True)
    (toy / "secret.txt").symlink_to(outside / "secret.txt")
    with serving(toy) as server:
        status, headers, body = get(server, path)
        assert (status, headers["Content-Type"]) == (404, "text/plain; charset=utf-8")
        assert b"format" not in body and b"root:" not in body


def test_a_file_that_is_no_image_is_not_passed_on_though_a_row_names_it(tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("a secret")
    (tmp_path / "photo.png").symlink_to(tmp_path / "secret.txt")
    named = [{"path": str(tmp_path / name), "size": [3, 2]} for name in ("secret.txt", "photo.png")]
    path = ended(tmp_path / "run", [row(str(place), images=[one]) for place, one in enumerate(named)], [])
    with serving(path) as server:
        for place in range(2):
            for kind in (f"/image/0/{place}/0", f"/thumb/0/{place}"):
                status, _, body = get(server, kind)
                assert (status, b"a secret" in body) == (404, False)


def test_rows_that_are_a_link_to_another_file_do_not_show_it(tmp_path: Path) -> None:
    path = ended(tmp_path / "run", [], [])
    (tmp_path / "secret.txt").write_text("a secret\n")
    (path / "predictions.jsonl").unlink()
    (path / "predictions.jsonl").symlink_to(tmp_path / "secret.txt")
    with serving(path) as server:
        body = get(server, "/runs")[2]
        assert (b"is no JSON Lines file" in body, b"a secret" in body) == (True, False)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE"])
def test_nothing_can_be_written(toy: Path, method: str) -> None:
    with serving(toy) as server:
        assert get(server, "/runs", method)[0] == 501


def test_a_head_request_has_no_body(toy: Path) -> None:
    with serving(toy) as server:
        status, headers, body = get(server, "/runs", "HEAD")
        assert (status, body) == (200, b"")
        assert int(headers["Content-Length"]) > 0


def test_a_port_in_use_is_told_and_one_that_nobody_named_gives_way(toy: Path) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as other:
        port = other.getsockname()[1]
        with pytest.raises(UserError, match=f"cannot open port {port} .* --port"):
            Server([Viewed(toy)], port)
    with Server([Viewed(toy)]) as one, Server([Viewed(toy)]) as another:
        assert one.server_address[1] != another.server_address[1]


def test_plots_are_drawn_and_those_a_run_has_no_data_for_are_not(run_folder: Callable[..., Path]) -> None:
    pytest.importorskip("matplotlib")
    with serving(run_folder(samples=24)) as server:
        plots = json.loads(get(server, "/about/0")[2])["plots"]
        kinds = [plot["kind"] for plot in plots]
        status, headers, body = get(server, f"/plot/0/{kinds.index('iou')}")
        assert (status, headers["Content-Type"], b"<svg" in body) == (200, "image/svg+xml", True)
        assert "sandbox" in headers["Content-Security-Policy"]
        assert get(server, f"/plot/0/{kinds.index('attention')}")[0] == 404
