"""Serves the viewer, page and data, to browsers, by default to those on this machine only.

rerun has a server for its page, but by default that listens on every interface and reports usage to its makers. The
page itself, in the browser, requests fonts and news of releases from other servers, and reports usage as well. Its
files are therefore fetched once, privately, and served from here, with a content security policy that allows the
browser to connect to this server only.
"""

from __future__ import annotations

import http.client
import http.server
import ipaddress
import os
import re
import socket
import subprocess
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from lcr_seg_ros.viewer.view import ViewerError, import_rerun

PAGE_PORT = 9090
DATA_PORT = 9876
LOOPBACK = "127.0.0.1"

START_S = 30.0
MAX_FILE_BYTES = 256 << 20


class _File(NamedTuple):
    content_type: str
    content: bytes


class ViewerServer:
    """A page that shows what is logged to :attr:`sink`, until :meth:`close` or the end of a ``with`` block.

    Args:
        host: IPv4 address to listen on; with 0.0.0.0 (every interface), anyone on the network can watch.
        port: of the page; 0 for a free one.
        data_port: of the data; 0 for a free one.
        memory_mb: amount of recent data that is kept for browsers that connect later.

    Raises:
        ViewerError: rerun is missing, the address is not valid, or a port is taken.
    """

    def __init__(
        self, host: str = LOOPBACK, port: int = PAGE_PORT, data_port: int = DATA_PORT, memory_mb: int = 256
    ) -> None:
        rr = import_rerun()
        host = LOOPBACK if host == "localhost" else host
        try:
            self._is_local = ipaddress.IPv4Address(host).is_loopback
        except ValueError as error:
            raise ViewerError(f"--host must be an IPv4 address such as 127.0.0.1 or 0.0.0.0, got {host!r}") from error
        data_port = _free_port(host) if data_port == 0 else _check_free(host, data_port)
        files = fetch_viewer_files()
        try:
            self._page = _PageServer((host, port), files, data_port)
        except OSError as error:
            raise ViewerError(f"cannot listen on {host}:{port}: {error.strerror}; choose another --port") from error
        self.port, self.data_port = self._page.server_port, data_port
        name = socket.gethostname() if host == "0.0.0.0" else host
        self.url = f"http://{name}:{self.port}/"
        self.sink: Any = rr.GrpcServerSink(
            bind_ip=host,
            port=data_port,
            server_memory_limit=f"{memory_mb}MB",
            # Other pages must not read the images; rerun itself allows pages of this machine.
            cors_allow_origin=[f"http://*:{self.port}"] if not self._is_local else [f"http://{host}:{self.port}"],
        )
        self._thread = threading.Thread(target=self._page.serve_forever, name="viewer-page", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop serving the page; the server of the data stops with its sink."""
        self._page.shutdown()
        self._page.server_close()
        self._thread.join(timeout=5.0)

    def __enter__(self) -> ViewerServer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _PageServer(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: tuple[str, int], files: dict[str, _File], data_port: int) -> None:
        super().__init__(address, _PageHandler)
        self.files = files
        self.data_port = data_port


class _PageHandler(http.server.BaseHTTPRequestHandler):
    server: _PageServer
    timeout = 30

    def do_GET(self) -> None:
        host = self._host()
        if host is None:
            return self._answer(400, _File("text/plain", b"what host is this?\n"))
        parts = urlsplit(self.path)
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        if parts.path == "/" and "url" not in query:
            # The host name by which the browser found the page also leads to the data.
            query |= {"url": f"rerun+http://{host}:{self.server.data_port}/proxy", "hide_welcome_screen": ""}
            return self._redirect("/?" + urlencode(query, quote_via=quote))
        file = self.server.files.get(parts.path)
        if file is None:
            return self._answer(404, _File("text/plain", b"nothing here\n"))
        return self._answer(200, file, host)

    def _host(self) -> str | None:
        """The name in the request's Host header, without the port; None if it is not valid."""
        found = re.fullmatch(r"([A-Za-z0-9.-]{1,253})(:\d{1,5})?", self.headers.get("Host", ""))
        return found[1] if found else None

    def _redirect(self, location: str) -> None:
        self.send_response(302)
        self.send_header("Location", location)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _answer(self, status: int, file: _File, host: str = "") -> None:
        self.send_response(status)
        self.send_header("Content-Type", file.content_type)
        self.send_header("Content-Length", str(len(file.content)))
        self.send_header("Cache-Control", "no-cache")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("Content-Security-Policy", _policy(f"http://{host}:{self.server.data_port}"))
        self.end_headers()
        with suppress(ConnectionError):  # the browser has disconnected
            self.wfile.write(file.content)

    def log_message(self, format: str, *arguments: Any) -> None:
        pass


def _policy(data: str) -> str:
    return (
        "default-src 'none'; script-src 'self' 'unsafe-inline' 'wasm-unsafe-eval'; style-src 'self' 'unsafe-inline'; "
        f"img-src 'self' data: blob:; worker-src 'self' blob:; connect-src 'self' {data}; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def fetch_viewer_files() -> dict[str, _File]:
    """Fetch the files of rerun's web viewer, by path, without links to other servers.

    They come from rerun's own server, which runs for a second on a loopback port, with an otherwise empty home folder
    in which analytics are disabled.

    Raises:
        ViewerError: that server does not start, or does not have a file.
    """
    with tempfile.TemporaryDirectory(prefix="lcr_seg_rerun_") as home:
        environment = private_environment(home)
        port = _free_port(LOOPBACK)
        command = [rerun_program(), "--bind", LOOPBACK, "--serve-web", "--web-viewer-port", str(port)]
        with subprocess.Popen(
            # As it is told that the data is elsewhere, it serves the page only.
            [*command, f"rerun+http://{LOOPBACK}:1/proxy"],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as process:
            try:
                page = _get(process, port, "/index.html")
                paths = {"/re_viewer.js", "/re_viewer_bg.wasm", "/favicon.ico"}
                files = {path: _get(process, port, path) for path in paths}
            finally:
                process.terminate()
                with suppress(subprocess.TimeoutExpired):
                    process.wait(timeout=5)
                process.kill()
        files["/"] = _File(page.content_type, without_foreign_links(page.content))
        return files


def private_environment(home: str | os.PathLike[str]) -> dict[str, str]:
    """Environment variables for rerun's program: analytics off, nothing read from or written to the user's home.

    Args:
        home: an empty folder, in which the setting is stored.

    Raises:
        ViewerError: rerun's program is missing or does not run.
    """
    environment = dict(os.environ, HOME=str(home), RUST_LOG="warn", NO_COLOR="1")
    environment |= {f"XDG_{kind}_HOME": str(Path(home, kind.lower())) for kind in ("CONFIG", "DATA", "CACHE", "STATE")}
    done = subprocess.run(
        [rerun_program(), "analytics", "disable"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if done.returncode != 0:
        raise ViewerError(f"rerun cannot be told to keep quiet (analytics disable): {done.stderr.strip()[-300:]}")
    return environment


def without_foreign_links(page: bytes) -> bytes:
    """HTML without the <link> elements that point to other servers."""
    return re.sub(rb"<link\b[^>]*\bhref\s*=\s*[\"']?(?:https?:)?//[^>]*>", b"", page)


def rerun_program() -> str:
    try:
        import rerun_cli
    except ImportError as error:
        raise ViewerError(f"rerun's program is missing: {error}; pip install 'lcr_seg_ros[rerun]'") from error
    return str(Path(rerun_cli.__file__).parent / "rerun")


def _get(process: subprocess.Popen[bytes], port: int, path: str) -> _File:
    deadline = time.monotonic() + START_S
    while True:
        connection = http.client.HTTPConnection(LOOPBACK, port, timeout=START_S)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            content = response.read(MAX_FILE_BYTES + 1)
            if response.status != 200 or len(content) > MAX_FILE_BYTES:
                raise ViewerError(
                    f"rerun's viewer has no usable {path} (status {response.status}); reinstall rerun-sdk"
                )
            return _File(response.getheader("Content-Type", "application/octet-stream"), content)
        except ConnectionRefusedError as error:  # the server is still starting
            if process.poll() is not None or time.monotonic() > deadline:
                raise ViewerError(f"rerun's web viewer does not start (exit code {process.poll()})") from error
            time.sleep(0.05)
        finally:
            connection.close()


def _free_port(host: str) -> int:
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def _check_free(host: str, port: int) -> int:
    """Return ``port`` if it is free. Otherwise raise an error, as rerun would only log a line."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise ViewerError(
                f"cannot listen on {host}:{port}: {error.strerror}; choose another --data-port"
            ) from error
    return port
