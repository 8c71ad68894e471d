"""The Ray cluster that replicas run on: joined or started, its GPUs counted, its errors in words."""

import logging
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ..errors import UserError

FREED = 10.0
"""Seconds that an earlier run may take to give its GPUs back."""


def library() -> Any:
    """The package ray.

    Raises:
        UserError: it is not installed.
    """
    try:
        import ray
    except ImportError as error:
        raise UserError(f"replicas need Ray ({error}): pip install 'evalkit[ray]'") from error
    return ray


def join(address: str | None) -> bool:
    """Connects this process to the cluster at `address`, or to one that it starts on this machine; whether it was not connected yet.

    Raises:
        UserError: there is no cluster, or it is of another version of Ray or Python.
    """
    ray = library()
    if ray.is_initialized():
        return False
    own: dict[str, Any] = {} if address else {"include_dashboard": False}
    for last in (False, True):
        try:
            if address:
                _reach(address)
            with _own_handlers():
                ray.init(address or "local", log_to_driver=False, logging_level=logging.CRITICAL, **own)
        except Exception as error:
            ray.shutdown()
            if address:
                told = f"expected a Ray cluster at {address}, got: {words(error)}"
                raise UserError(f"{told}. `ray status` on its first machine says whether it is up") from error
            if last:  # on a busy machine a second try may come in time
                raise UserError(f"Ray does not start on this machine: {words(error)}") from error
        else:
            break
    return True


@contextmanager
def _own_handlers() -> Iterator[None]:
    """Keeps this program's own way to end at SIGTERM, where it has one: Ray sets another."""
    known = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if callable(known) and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, known)


def _reach(address: str) -> None:
    """Lets an address pass at which something listens; where nothing does, Ray itself waits without end.

    Raises:
        OSError: nothing listens there, or at what `auto` stands for, such as a cluster that has ended without a word.
        ValueError: it is no address of a cluster's own.
    """
    if address.startswith("ray://"):
        raise ValueError("an address of a Ray client: run on a machine of the cluster, with the address auto")
    try:
        from ray._private.services import canonicalize_bootstrap_address as found
    except ImportError:  # it is Ray's own affair where it looks for `auto`
        return
    host, _, port = (found(address) or "").rpartition(":")
    if host:
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
        except OSError as error:
            raise OSError(f"nothing listens at {host}:{port} ({error.strerror or error})") from error


def gpus_each(asked: int | None) -> int:
    """How many GPUs a replica takes: as asked, else one where there are any."""
    return (1 if any(_gpus()) else 0) if asked is None else asked


def places(gpus: int) -> float:
    """How many replicas of so many GPUs there is room for, each on one machine, whoever else uses them; endless without GPUs."""
    return sum(int(there // gpus) for there in _gpus()) if gpus else float("inf")


def check(count: int, gpus: int) -> None:
    """Lets replicas pass that find room.

    Raises:
        UserError: there are more of them than GPUs, or than GPUs that nobody else uses.
    """
    if not gpus:
        return
    ray = library()
    free, until = 0.0, time.monotonic() + FREED
    while count <= places(gpus) and time.monotonic() < until:
        free = ray.available_resources().get("GPU", 0)
        if free >= count * gpus:
            return
        time.sleep(0.5)
    each = "a GPU" if gpus == 1 else f"{gpus} GPUs of one machine"
    used = f", of which {free:.0f} are free" if count <= places(gpus) else ""
    most = min(places(gpus), free // gpus) if used else places(gpus)
    raise UserError(f"expected {each} for each of {count} replicas, and the cluster has {sum(_gpus()):.0f}{used}: at most {most:.0f} fit")


def words(error: Exception) -> str:
    """What an error says, in one line, without Ray's tables and advice."""
    cause = getattr(error, "cause", None)
    if isinstance(cause, Exception):  # raised by a method of an actor
        return f"{type(cause).__name__}: {cause}"
    lines = [line.strip() for line in str(error).splitlines() if line.strip() and not line.startswith("\t")]
    return " ".join(lines).partition(" Some common causes")[0].rstrip(".") or type(error).__name__


def _gpus() -> list[float]:
    """The GPUs of each machine that is up."""
    return [node["Resources"].get("GPU", 0) for node in library().nodes() if node["Alive"]]
