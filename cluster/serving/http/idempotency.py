"""The caller's name for a change (`Idempotency-Key`): given again, the change is not done again."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Header, Request

from cluster.serving.http.route import TheCaller, TheService
from semrec.workspace.digests import sha256_hex
from semrec.workspace.log import BatchToken

__all__ = ["ChangeToken"]

_Key = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=200,
        pattern="^[A-Za-z0-9_.:-]+$",
        description="The caller's name for this change: given again, it is not done again.",
    ),
]


async def _token(
    request: Request, service: TheService, caller: TheCaller, idempotency_key: _Key = None
) -> BatchToken | None:
    """The name, with a digest of what is asked: the kind of change, the id and the body. None without a name.

    The name is the admitted caller's (`Caller.token`), which no other key can take; the header is documented here.
    """
    if caller.token is None:
        return None
    body, item_id = await request.body(), request.path_params.get("item_id", "")
    kind = f"{request.method} {'item' if item_id else request.url.path.rpartition('/')[2]}"
    parts = (kind.encode(), item_id.encode("utf-8", "surrogatepass"), body)
    # Lengths between the parts, so that no two changes have the same text.
    text = await service.read(len(body), lambda: sha256_hex(b"".join(b"%d:%b" % (len(part), part) for part in parts)))
    return BatchToken(caller.token, text)


ChangeToken = Annotated[BatchToken | None, Depends(_token)]
