"""How checkpoints are written and read: LangGraph's msgpack, strict, with a quick way for messages."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import ormsgpack
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage
from langgraph.checkpoint.serde.jsonplus import EXT_DELTA_SNAPSHOT, EXT_PYDANTIC_V2, JsonPlusSerializer
from langgraph.checkpoint.serde.types import _DeltaSnapshot

_MESSAGES: Mapping[tuple[str, str], type[BaseMessage]] = {
    (cls.__module__, cls.__name__): cls for cls in (AIMessage, HumanMessage, SystemMessage, ToolMessage)
}
_Hook = Callable[[int, bytes], Any]


class MessageSerializer(JsonPlusSerializer):
    """Revives only LangGraph's and langchain-core's own value types: a crafted blob can't name another.

    Every turn reads all messages of its conversation. They were validated before they were written, so they aren't again: that is
    most of what reading a long conversation costs.
    """

    def __init__(self) -> None:
        super().__init__(allowed_msgpack_modules=None)
        self._unpack_ext_hook = _quick(self._unpack_ext_hook)

    def with_msgpack_allowlist(self, extra_allowlist: Iterable[tuple[str, ...] | type]) -> JsonPlusSerializer:
        """A copy that also revives these types."""
        clone = super().with_msgpack_allowlist(extra_allowlist)
        if clone is not self:
            clone._unpack_ext_hook = _quick(clone._unpack_ext_hook)
        return clone


def _revive(cls: type[BaseMessage], fields: dict[str, Any]) -> BaseMessage:
    """As unpickling does it."""
    message = cls.__new__(cls)
    message.__setstate__(
        {
            "__dict__": fields,
            "__pydantic_extra__": {},
            "__pydantic_fields_set__": set(fields),
            "__pydantic_private__": None,
        }
    )
    return message


def _quick(standard: _Hook) -> _Hook:
    def hook(code: int, data: bytes) -> Any:
        if code == EXT_DELTA_SNAPSHOT:
            return _DeltaSnapshot(ormsgpack.unpackb(data, ext_hook=hook, option=ormsgpack.OPT_NON_STR_KEYS))
        if code == EXT_PYDANTIC_V2:
            module, name, fields, *_ = ormsgpack.unpackb(data, ext_hook=hook, option=ormsgpack.OPT_NON_STR_KEYS)
            cls = _MESSAGES.get((module, name))
            if cls is not None and isinstance(fields, dict) and fields.keys() == cls.model_fields.keys():
                return _revive(cls, fields)
        return standard(code, data)

    return hook
