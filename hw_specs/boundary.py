"""The one door to pydantic, which checks what comes from outside; it never imports it before it is needed."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from hw_specs.errors import MissingPackage

if TYPE_CHECKING:
    from pydantic import TypeAdapter

T = TypeVar("T")


def type_adapter(shape: type[T]) -> TypeAdapter[T]:
    """Return pydantic's reader and writer of `shape`.

    Raises:
        MissingPackage: pydantic is not installed beside this program.
    """
    try:
        from pydantic import TypeAdapter
    except ModuleNotFoundError as error:
        raise MissingPackage(
            f"the package `{error.name}` is not installed for this Python",
            hint="`pip install m35-plan` brings it; a copied source tree does not",
        ) from error
    return TypeAdapter(shape)
