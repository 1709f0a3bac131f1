"""The one error hierarchy. Every failure a caller can see is one of these; server/errors.py alone turns them into HTTP.

Each class has a stable `code` (the `error_code` of the wire) and an HTTP `status`; its docstring says how to repair it.
`message` is for people and names what was asked for and the fix; `details` is for machines. Neither ever holds a secret.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar, Literal


class ConsiliumError(Exception):
    """Base of all our errors; raised itself only for a fault of ours. Repair: read the log of the returned trace_id."""

    code: ClassVar[str] = "internal_error"
    status: ClassVar[int] = 500

    def __init__(self, message: str, **details: Any) -> None:
        super().__init__(message)
        self.message = message
        self.details: dict[str, Any] = details


class ConfigurationError(ConsiliumError):
    """A setting is missing or wrong. Repair: the message names the variable and a value that works; restart."""

    code = "configuration_error"


class Unauthenticated(ConsiliumError):
    """No valid token. Repair: get a fresh one (`consilium token`) and send it as `Authorization: Bearer ...`."""

    code = "unauthenticated"
    status = 401


class Forbidden(ConsiliumError):
    """The caller's role does not allow this. Repair: ask someone with the role named in `details.required_role`."""

    code = "forbidden"
    status = 403


class NotFound(ConsiliumError):
    """No such thing in the caller's organisation; a foreign id answers the same. Repair: check `details.kind` and `details.id`."""

    code = "not_found"
    status = 404

    def __init__(self, kind: str, id: str, **details: Any) -> None:
        super().__init__(f"No {kind} '{id[:200]}' here.", kind=kind, id=id[:200], **details)


class Conflict(ConsiliumError):
    """The thing is in a state that excludes the request. Repair: read its state again, then retry or choose another strategy."""

    code = "conflict"
    status = 409


class TooLarge(ConsiliumError):
    """The input is over a limit. Repair: send at most `details.limit` (`details.unit`)."""

    code = "too_large"
    status = 413


class Unsupported(ConsiliumError):
    """The media type or feature is not served. Repair: `details.supported` lists what is."""

    code = "unsupported"
    status = 415


class InvalidInput(ConsiliumError):
    """A field of the request is wrong. Repair: the message names the field and what it may be."""

    code = "invalid_input"
    status = 422

    def __init__(self, field: str, problem: str, **details: Any) -> None:
        super().__init__(f"{field}: {problem}", field=field, **details)


class InvalidJson(InvalidInput):
    """The body is no JSON. Repair: correct it at `details.position`, counted from 0, where that is known."""

    code = "invalid_json"

    def __init__(self, problem: str, *, position: int | None = None) -> None:
        where = "" if position is None else f" at character {position}"
        super().__init__("body", f"not valid JSON{where}: {problem}", position=position)


class QuotaExceeded(ConsiliumError):
    """The day's tokens of `details.scope` are used up. Repair: wait until `details.resets_at` or raise the limit."""

    code = "quota_exceeded"
    status = 429

    def __init__(
        self,
        *,
        limit: int,
        used: int,
        reserved: int,
        requested: int,
        resets_at: datetime,
        scope: str = "organization",
        subject: str | None = None,
        waits: bool = False,
    ) -> None:
        whose = "" if subject is None else f" of {scope} '{subject[:200]}'"
        super().__init__(
            f"The daily limit{whose} of {limit} tokens is used up ({used} used, {reserved} reserved, {requested} asked for); "
            f"it resets at {resets_at.isoformat()}.",
            scope=scope,
            subject=subject,
            limit=limit,
            used=used,
            reserved=reserved,
            requested=requested,
            resets_at=resets_at.isoformat(),
        )
        self.resets_at = resets_at
        self.waits = waits
        """Whether the organisation wants a run to wait for its tokens."""


class RunCancelled(ConsiliumError):
    """The run was cancelled by request. Repair: none needed; start another run."""

    code = "run_cancelled"
    status = 409


class ApprovalRequired(ConsiliumError):
    """A tool call waits for somebody's approval where nobody can give it: the conversation goes away with the run.
    Repair: ask in a thread of your own (`POST /threads`), and answer its interrupt."""

    code = "approval_required"
    status = 409


class StaleFence(ConsiliumError):
    """This process no longer holds the run's lease; nothing was written. Repair: stop working on the run, its new holder goes on."""

    code = "stale_fence"
    status = 409


class ToolError(ConsiliumError):
    """A tool call failed in a way the model can read and mend; `code` says how."""

    code = "tool_error"
    status = 502


class InvalidToolArguments(ToolError):
    """Arguments do not fit the tool's JSON Schema. Repair (the model's): call again with the fields named in the message."""

    code = "invalid_tool_arguments"


class ToolDenied(ToolError):
    """The call was not to be made. Repair (the model's): go on without it; the message says who decided."""

    code = "tool_denied"


class EffectUnknown(ToolError):
    """The call had begun when its process ended, so it may have been carried out or not; it isn't repeated by itself.
    Repair (the model's): find out, and tell the user; call again only where it is certain that nothing happened."""

    code = "effect_unknown"


class ToolTimedOut(ToolError):
    """What the tool asked did not answer in time. Repair: ask for less, or try again later."""

    code = "tool_timeout"


class ToolUnavailable(ToolError):
    """What the tool asked can't be reached, or answered with a fault of its own. Repair: try again later, check its address."""

    code = "tool_unavailable"


class ToolRateLimited(ToolError):
    """What the tool asked wants fewer calls. Repair: wait `details.retry_after` seconds, where that is known."""

    code = "tool_rate_limited"


class ToolRejected(ToolError):
    """What the tool asked refused the call: key, rights or plan. Repair (the operator's): the message names the setting."""

    code = "tool_rejected"


class ToolProtocolError(ToolError):
    """What the tool asked answered with something else than its protocol says. Repair: check its address."""

    code = "tool_protocol_error"


class ProviderError(ConsiliumError):
    """A model provider failed. Repair: see the subclass; the router has already tried the rest of the chain."""

    code = "provider_error"
    status = 502

    def __init__(self, provider: str, message: str, **details: Any) -> None:
        super().__init__(f"{provider}: {message}", provider=provider, **details)
        self.provider = provider


class ProviderUnavailable(ProviderError):
    """The provider did not answer (refused, reset, 5xx, timeout). Retryable. Repair: check its address and health."""

    code = "provider_unavailable"
    status = 503


class ProviderRateLimited(ProviderError):
    """The provider answered 429. Retryable after `details.retry_after` seconds, where it said so."""

    code = "provider_rate_limited"
    status = 503


class ProviderRejected(ProviderError):
    """The provider refused the request itself (key, model name, size). Not retryable. Repair: the message names the variable or model."""

    code = "provider_rejected"


class ProviderProtocolError(ProviderError):
    """The provider's stream broke its protocol (no terminal finish, half a tool call, bad JSON). Retryable elsewhere."""

    code = "provider_protocol_error"


class NoProvider(ConsiliumError):
    """No configured provider can serve the request. Repair: choose one of `details.available` or set the variable the message names."""

    code = "no_provider"
    status = 422


class UnknownModel(NoProvider):
    """No model or alias of that name. Repair: choose one of `details.available`."""

    code = "unknown_model"
    status = 404


class ProviderBusy(ProviderError):
    """The provider has as many calls under way as it may, and no place came free in time.
    Repair: try again later, or raise its `max_concurrency`."""

    code = "provider_busy"
    status = 503


class CircuitOpen(ProviderError):
    """The provider failed too often and is left alone until `details.retry_at`. Repair: none needed; it is tried again by itself."""

    code = "circuit_open"
    status = 503


class RateLimited(ConsiliumError):
    """Too many requests of the user, the organisation or for the model. Repair: wait `details.retry_after` seconds."""

    code = "rate_limited"
    status = 429

    def __init__(self, scope: str, *, limit: int, retry_after: float) -> None:
        super().__init__(
            f"Too many requests of this {scope}: {limit} a minute are allowed; try again in {retry_after:.0f} s.",
            scope=scope,
            limit=limit,
            retry_after=retry_after,
        )
        self.retry_after = retry_after


class InvalidStructuredOutput(ConsiliumError):
    """No model gave JSON that fits the schema.
    Repair: simplify the schema, or choose a stronger model; `details.errors` says what was wrong."""

    code = "invalid_structured_output"
    status = 502


class TimedOut(ConsiliumError):
    """The time the request allows ran out; the work was ended. Repair: allow more than `details.seconds`."""

    code = "timeout"
    status = 504

    def __init__(self, seconds: float) -> None:
        super().__init__(f"There was no answer within {seconds:g} s.", seconds=seconds)


Unreadable = Literal[
    "empty", "no_text", "not_pdf", "not_docx", "not_text", "encrypted", "damaged", "too_large", "unknown"
]
"""What is wrong with a file that can't be read; `unknown` where only the server's log tells."""


class DocumentUnreadable(ConsiliumError):
    """A document can't be parsed. Repair: the message says what is wrong with the file, `details.reason` the same for programs;
    upload another version."""

    code = "document_unreadable"
    status = 422

    def __init__(self, reason: Unreadable, message: str, **details: Any) -> None:
        super().__init__(message, reason=reason, **details)
