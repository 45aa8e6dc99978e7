"""Errors of requests: an id that cannot be one, and what pydantic has refused, in words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from pydantic import ValidationError

from cluster.serving.errors import InvalidRequestError, MalformedRequestError
from semrec.limits import MAX_ID_CHARS

__all__ = ["check_id", "invalid_request"]

_MAX_ERRORS: Final = 20  # that an answer shows
_MAX_PLACE: Final = 200  # characters of where an error is: a member's name may be megabytes long


def check_id(text: str) -> str:
    """Returns an id as it may be asked for, stored ones from before the rule of imports included.

    Raises InvalidRequestError for an empty or too long one.
    """
    if not 1 <= len(text) <= MAX_ID_CHARS:
        raise InvalidRequestError(
            f"an id of {len(text):,} characters", expected=f"1 to {MAX_ID_CHARS:,}", remedy="Check the id."
        )
    return text


def invalid_request(error: ValidationError, part: str) -> InvalidRequestError | MalformedRequestError:
    """The error of a request whose `part`, such as "the body", pydantic has refused: it names the first 20 places."""
    details = error.errors(include_url=False, include_context=False, include_input=False)
    if any(detail["type"] == "json_invalid" for detail in details):
        return MalformedRequestError(f"{part} is not JSON", expected="a JSON object in UTF-8", remedy="Mend it.")
    errors = [{"at": _place(detail["loc"]), "message": detail["msg"]} for detail in details[:_MAX_ERRORS]]
    where = f"{errors[0]['at']}: " if errors[0]["at"] else ""
    return InvalidRequestError(
        f"{part}: {where}{errors[0]['message']}",
        expected="see /openapi.json",
        remedy="Correct what `errors` names.",
        errors=errors,
    )


def _place(names: Sequence[str | int]) -> str:
    """`liked.3.weight`, as long as it may be."""
    return ".".join(str(name)[:_MAX_PLACE] for name in names)[:_MAX_PLACE]
