"""Images on their way to replicas: their bytes go into Ray's object store once, and come out of it once a machine."""

import hashlib
import threading
from collections import OrderedDict
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

from ..errors import Gap
from ..images import read
from ..types import Image, Lazy, Request, Segment
from . import _cluster as cluster

KEPT = 1 << 30
"""The bytes of images that stay in the object store for the next request about them, beside those of requests under way."""
HELD = 16
"""Of how many images a replica keeps the bytes: the turns and samples of one image come close together."""


@dataclass(frozen=True, slots=True)
class Shipped:
    """Reads the bytes of an image, which lie in Ray's object store."""

    digest: str
    ref: Any = field(compare=False, repr=False)

    def __call__(self) -> bytes:
        """The bytes, from this machine's part of the store, which fetches them once for all its processes."""
        return _fetched(self)


@lru_cache(maxsize=HELD)
def _fetched(shipped: Shipped) -> bytes:
    import ray

    data: bytes = ray.get(shipped.ref)
    return data


class Shipping:
    """The side that sends. For any number of threads."""

    def __init__(self, ray: Any) -> None:
        self._ray = ray
        self._sent: OrderedDict[str, tuple[Shipped, int]] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def shipped(self, request: Request) -> Request:
        """The request with its images' bytes in the object store, to be read where they are decoded.

        Raises:
            ImageError: there are no bytes.
            Gap: the object store does not take them.
        """
        kind = request.kind
        if isinstance(kind, Segment):
            return replace(request, kind=replace(kind, image=self._image(kind.image)))
        messages = tuple(
            replace(message, content=tuple(self._image(part) if isinstance(part, Image) else part for part in message.content))
            for message in kind.messages
        )
        return replace(request, kind=replace(kind, messages=messages))

    def _image(self, image: Image) -> Image:
        """A derived image stays derived, and shares its parent's bytes."""
        if isinstance(image.source, Image):
            return replace(image, source=self._image(image.source))
        return replace(image, source=Lazy(image.name, self._known(image.digest) or self._put(image)))

    def _known(self, digest: str) -> Shipped | None:
        with self._lock:
            if digest not in self._sent:
                return None
            self._sent.move_to_end(digest)
            return self._sent[digest][0]

    def _put(self, image: Image) -> Shipped:
        data = read(image)
        digest = image.digest or hashlib.sha256(data).hexdigest()
        with self._lock:
            if digest not in self._sent:  # another thread may have been faster
                try:
                    self._sent[digest] = Shipped(digest, self._ray.put(data)), len(data)
                except self._ray.exceptions.RayError as error:
                    raise Gap(f"{image.name} does not reach the replicas: {cluster.words(error)}") from error
                self._bytes += len(data)
            shipped, _ = self._sent[digest]
            while self._bytes > KEPT and len(self._sent) > 1:
                _, (_, size) = self._sent.popitem(last=False)
                self._bytes -= size
        return shipped


def root(image: Image) -> Image:
    """The image that has bytes of its own, from which this one derives."""
    return root(image.source) if isinstance(image.source, Image) else image
