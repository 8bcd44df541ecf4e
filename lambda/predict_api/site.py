"""Puts the website beside the API, as CloudFront does on AWS. Only for serving on this machine."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from predict_api.local import Application, Receive, Scope, Send
from predict_api.logs import logger

CONTENT_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".json": "application/json; charset=utf-8",
    ".svg": "image/svg+xml",
}
# Headers that the distribution adds to every file, and no file of the site itself
HEADERS_FILE = "headers.json"
CONFIG_PATH = "/config.json"


class Site:
    """An ASGI application: a file of the website where there is one, else the API.

    The files are read once, so nothing outside the folder can be asked for. `configuration` is
    asked for what differs from the site's own config.json here and now.
    """

    def __init__(
        self,
        api: Application,
        folder: Path,
        configuration: Callable[[], Mapping[str, Any]] = dict,
    ) -> None:
        self._api = api
        self._configuration = configuration
        self._headers: dict[str, str] = json.loads((folder / HEADERS_FILE).read_text("utf-8"))
        self._files = {
            f"/{path.name}": (CONTENT_TYPES[path.suffix], path.read_bytes())
            for path in folder.iterdir()
            if path.suffix in CONTENT_TYPES and path.name != HEADERS_FILE
        }
        self._files["/"] = self._files["/index.html"]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_file = scope["type"] == "http" and scope["path"] in self._files
        if not is_file or scope["method"] not in ("GET", "HEAD"):
            await self._api(scope, receive, send)
            return
        content_type, content = self._files[scope["path"]]
        if scope["path"] == CONFIG_PATH:
            # asked in a thread: what it asks may be slow
            content = await asyncio.to_thread(self._configured, content)
        headers = {
            "Content-Type": content_type,
            "Content-Length": str(len(content)),
            # whoever changes a file here wants to see it
            "Cache-Control": "no-cache",
        }
        await send(
            {
                "type": "http.response.start",
                "status": 200,
                "headers": [
                    (name.lower().encode("ascii"), value.encode("ascii"))
                    for name, value in (self._headers | headers).items()
                ],
            }
        )
        body = b"" if scope["method"] == "HEAD" else content
        await send({"type": "http.response.body", "body": body})

    def _configured(self, content: bytes) -> bytes:
        try:
            changes = self._configuration()
        except Exception as error:
            # the page works without, so whatever it was is a line in the log
            logger.warning("configuration_failed", error=type(error).__name__)
            return content
        return json.dumps(json.loads(content) | dict(changes)).encode()
