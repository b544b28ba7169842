"""`trimtab dashboard`: the live page over a folder of runs."""

from __future__ import annotations

import errno
import os
import secrets
import socket
import sys
import webbrowser
from pathlib import Path
from urllib.parse import quote

import click

from trimtab.cli.output import json_option, message, print_json
from trimtab.core.errors import RunError
from trimtab.core.optional import require

DEFAULT_FOLDER = Path("runs")
DEFAULT_PORT = 7860
# So many ports are tried from the default one on, where none was asked for.
TRIED_PORTS = 20
LEAST_TOKEN = 12
_PACKAGES = ("fastapi", "uvicorn", "sse_starlette", "python_multipart")


@click.command("dashboard")
@click.argument("folder", type=click.Path(path_type=Path), default=DEFAULT_FOLDER)
@click.option(
    "--host",
    default="127.0.0.1",
    metavar="HOST",
    help="Address to listen on; any but this machine's own wants a token. [default: 127.0.0.1]",
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    metavar="INTEGER",
    help=f"Port to listen on; 0 takes a free one. [default: {DEFAULT_PORT}, or the next that is free]",
)
@click.option(
    "--open/--no-open",
    "open_browser",
    default=None,
    help="Open the page in the browser. [default: where there is a screen]",
)
@click.option(
    "--token",
    metavar="TEXT",
    envvar="TRIMTAB_DASHBOARD_TOKEN",
    help="What a visitor has to know, or the "
    "variable TRIMTAB_DASHBOARD_TOKEN; one is made where others could reach the page and none is given.",
)
@click.option(
    "--allow-host",
    "names",
    multiple=True,
    metavar="NAME",
    help="A further name that the page is reached by, as behind a proxy; repeat for more.",
)
@click.option("--read-only", is_flag=True, help="Show runs, and let nobody start, steer or annotate one.")
@json_option
def command(
    folder: Path,
    host: str,
    port: int | None,
    open_browser: bool | None,
    token: str | None,
    names: tuple[str, ...],
    read_only: bool,
    as_json: bool,
) -> int:
    """Show the runs of FOLDER in the browser, live, and act on them.

    FOLDER is 'runs' when it is not given; a run directory opens its own page. Runs that are started here are processes
    of their own: they go on when the page or the server is closed. With --json the address is printed as one JSON
    object.
    """
    folder, run = _check_folder(folder)
    for package in _PACKAGES:
        require(package, extra="dashboard", purpose="show the dashboard")
    from trimtab.dashboard.security import Policy, is_local
    from trimtab.dashboard.server import create_app, page_token, serve

    token = _checked_token(token, wanted=not is_local(host))
    listener = bind(host, port)
    policy = Policy(
        host=host,
        access_token=token,
        page_token=page_token(folder),
        read_only=read_only,
        names=frozenset(name.lower() for name in names),
    )
    app = create_app(folder, policy)
    url = address(listener, host, token, run)
    _tell(url, folder, port, listener.getsockname()[1], as_json=as_json)
    if _has_screen() if open_browser is None else open_browser:
        webbrowser.open(url)
    try:
        serve(app, listener)
    except KeyboardInterrupt:
        if not as_json:
            message("The dashboard has ended. Runs that it started go on.")
    return 0


def _check_folder(folder: Path) -> tuple[Path, str | None]:
    """The folder of runs, and the run in it that was named, if one was.

    Raises:
        RunError: there is no such folder.
    """
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "does not exist"
        raise RunError(
            f"The folder {folder} {what}.",
            remedy="Name the folder that holds your runs: trimtab dashboard FOLDER. 'trimtab train' makes one called "
            f"'runs'; for an empty one: mkdir {DEFAULT_FOLDER if folder.exists() else folder}",
        )
    folder = folder.resolve()
    if (folder / "events.jsonl").is_file() or (folder / "recipe.yaml").is_file():
        return folder.parent, folder.name
    return folder, None


def _checked_token(token: str | None, *, wanted: bool) -> str | None:
    """The token of visitors: that which was given, or a new one where it is wanted.

    Raises:
        click.UsageError: the one given could be guessed, or cannot stand in an address.
    """
    if token is None:
        return secrets.token_urlsafe(24) if wanted else None
    if len(token) < LEAST_TOKEN or not token.isascii() or not token.isprintable() or " " in token:
        raise click.UsageError(f"--token takes at least {LEAST_TOKEN} letters, digits and signs, without spaces.")
    return token


def bind(host: str, port: int | None) -> socket.socket:
    """A socket that listens on the address.

    Args:
        host: name or address.
        port: the port asked for; None for the first that is free from `DEFAULT_PORT` on.

    Raises:
        RunError: the port is taken, or the address is none of this machine.
    """
    tried = range(DEFAULT_PORT, DEFAULT_PORT + TRIED_PORTS) if port is None else [port]
    for number in tried:
        try:
            return _listen(host, number)
        except socket.gaierror as error:
            raise RunError(
                f"The host {host!r} is not known: {error.strerror}.", remedy="Use --host 127.0.0.1, or leave it out."
            ) from error
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise RunError(
                    f"Cannot listen on {host}:{number}: {error.strerror or error}.",
                    remedy="Ports below 1024 are reserved; choose another by --port."
                    if error.errno == errno.EACCES
                    else "Use an address of this machine: --host 127.0.0.1, or 0.0.0.0 for all of them.",
                ) from error
    named = f"The port {port} is" if port is not None else f"The ports {tried[0]} to {tried[-1]} are all"
    raise RunError(
        f"{named} taken by another program.",
        remedy="Is a dashboard running there already? Otherwise choose another port: --port 0 takes a free one.",
    )


def _listen(host: str, port: int) -> socket.socket:
    family, kind, protocol, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    listener = socket.socket(family, kind, protocol)
    try:
        if os.name == "posix":  # elsewhere it would let two servers share the port
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(place)
        listener.listen(128)
    except OSError:
        listener.close()
        raise
    return listener


def address(listener: socket.socket, host: str, token: str | None, run: str | None) -> str:
    """The address to open: with the token, and with the page of a run."""
    if host in ("0.0.0.0", "::", ""):
        host = socket.gethostname()
    shown = f"[{host}]" if ":" in host else host
    query = f"?token={quote(token, safe='')}" if token else ""
    page = f"#/run/{quote(run, safe='')}" if run else ""
    return f"http://{shown}:{listener.getsockname()[1]}/{query}{page}"


def _tell(url: str, folder: Path, asked: int | None, port: int, *, as_json: bool) -> None:
    if as_json:
        print_json({"url": url, "folder": str(folder), "pid": os.getpid()})
        sys.stdout.flush()
        return
    if asked is None and port != DEFAULT_PORT:
        message(f"Port {DEFAULT_PORT} is taken; this one is {port}.")
    click.echo(f"Dashboard of {folder}: {url}")
    message("End it with Ctrl-C.")
    sys.stdout.flush()


def _has_screen() -> bool:
    """Whether a browser would show where the user sits."""
    if not sys.stdout.isatty() or "SSH_CONNECTION" in os.environ:
        return False
    if sys.platform in ("darwin", "win32"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
