"""Who is asking: tokens verified strictly, and issued for our own use. Touches no database.

A token can only name a key we hold: HS256 for the secret, RS256 or ES256 as the JWKS says of the key. The header is
checked before the signature, the signature before the payload is parsed.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import os
import secrets
import tempfile
import time
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, NoReturn, cast

from jwt.algorithms import ECAlgorithm, RSAAlgorithm
from starlette.datastructures import Headers

from domain.errors import ConfigurationError, Unauthenticated
from domain.identity import ROLES, Identity, Role
from domain.ids import UserId, organization_id
from domain.settings import MIN_SECRET_BYTES, Settings
from server.jwks import KeySet, VerificationKey

MAX_TOKEN_BYTES = 8192
MAX_USER_CHARS = 200
REMEMBERED_TOKENS = 2_000
MAX_ORGANIZATION_CHARS = 128
_REFUSED_HEADERS = frozenset({"crit", "b64", "jwk", "jku", "x5u", "x5c", "zip", "enc"})
"""Each of them would have the token itself say how it is to be verified or read."""
_TYPES = frozenset({"jwt", "at+jwt", "application/at+jwt"})


def token_of(headers: Headers) -> str:
    """The token of a request: `Authorization: Bearer`, else `X-Api-Key`. Raises Unauthenticated where there is none."""
    given = headers.getlist("authorization")
    if len(given) > 1:
        _refuse("malformed", "Send one Authorization header, not several.")
    if given:
        scheme, _, token = given[0].strip().partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            _refuse("malformed", "Send the token as `Authorization: Bearer <token>`.")
        return token.strip()
    keys = headers.getlist("x-api-key")
    if len(keys) != 1 or not keys[0].strip():
        _refuse("missing", "A token is needed: send it as `Authorization: Bearer <token>`.")
    return keys[0].strip()


@dataclass(frozen=True, slots=True)
class _Verified:
    """A token whose signature was right, by a key of the JWKS, or by our secret (both None). Its times are checked each time."""

    kid: str | None
    key: VerificationKey | None
    claims: Mapping[str, Any]
    identity: Identity


class Authenticator:
    """Verifies tokens. One per process; touches no database."""

    def __init__(self, settings: Settings) -> None:
        self._secret = signing_secret(settings)
        self._keys = KeySet(url=settings.jwks_url, file=settings.jwks_file) if _has_jwks(settings) else None
        self._issuer = settings.jwt_issuer
        self._audience = settings.jwt_audience
        self._leeway = settings.jwt_leeway_seconds
        self._verified: OrderedDict[bytes, _Verified] = OrderedDict()
        """By the token's digest: whoever asks again pays for a digest instead of a signature."""

    async def identify(self, headers: Headers) -> Identity:
        """The caller of a request with these headers. Raises Unauthenticated."""
        return await self.verify(token_of(headers))

    async def verify(self, token: str) -> Identity:
        """The caller a token stands for. Raises Unauthenticated, with `details.reason` one of malformed, algorithm,
        unknown_key, signature, expired, claims."""
        if len(token) > MAX_TOKEN_BYTES:
            _refuse("malformed", f"The token has more than {MAX_TOKEN_BYTES} bytes.")
        digest = hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
        known = self._verified.get(digest)
        if known is not None and await self._is_held(known):
            self._check_times(known.claims)
            return known.identity
        verified = await self._verify(token)
        self._verified[digest] = verified
        if len(self._verified) > REMEMBERED_TOKENS:
            self._verified.popitem(last=False)
        return verified.identity

    async def _is_held(self, known: _Verified) -> bool:
        """Whether the key is still ours: a JWKS may have taken it back."""
        if known.kid is None or self._keys is None:
            return known.kid is None
        return await self._keys.find(known.kid) is known.key

    async def _verify(self, token: str) -> _Verified:
        parts = token.split(".")
        if not token.isascii() or len(parts) != 3 or not all(parts):
            _malformed()
        header = _object(_decode(parts[0]))
        if _REFUSED_HEADERS & header.keys():
            _malformed()
        kind = header.get("typ", "JWT")
        if not isinstance(kind, str) or kind.lower() not in _TYPES:
            _malformed()
        signature = _decode(parts[2])
        key = await self._check_signature(header, f"{parts[0]}.{parts[1]}".encode(), signature)
        claims = _object(_decode(parts[1]))
        self._check_times(claims)
        return _Verified(header["kid"] if key else None, key, claims, self._identity(claims))

    async def _check_signature(
        self, header: Mapping[str, Any], signed: bytes, signature: bytes
    ) -> VerificationKey | None:
        """The key of the JWKS by which the signature is right; None where it is our secret."""
        key: VerificationKey | None = None
        algorithm = header.get("alg")
        if algorithm == "HS256":
            if self._secret is None:
                _refuse("algorithm", "Tokens of this algorithm are not taken here.")
            good = hmac.compare_digest(hmac.digest(self._secret, signed, "sha256"), signature)
        elif algorithm in ("RS256", "ES256"):
            if self._keys is None:
                _refuse("algorithm", "Tokens of this algorithm are not taken here.")
            kid = header.get("kid")
            if not isinstance(kid, str) or not 0 < len(kid) <= 200:
                _refuse("unknown_key", "The token's key is not known.")
            key = await self._keys.find(kid)
            if key is None or key.algorithm != algorithm:
                _refuse("unknown_key", "The token's key is not known.")
            good = _verify(key, signed, signature)
        else:
            _refuse("algorithm", "Tokens of this algorithm are not taken here.")
        if not good:
            _refuse("signature", "The token's signature is wrong.")
        return key

    # Claims are only looked at once the signature is right, so what is wrong may be told to the last.

    def _check_times(self, claims: Mapping[str, Any]) -> None:
        now = time.time()
        issued, expires = _timestamp(claims, "iat"), _timestamp(claims, "exp")
        if expires <= issued:
            _claim("exp", "must be later than iat")
        if issued > now + self._leeway:
            _claim("iat", "is in the future")
        if "nbf" in claims and _timestamp(claims, "nbf") > now + self._leeway:
            _claim("nbf", "is in the future")
        if expires <= now - self._leeway:
            _refuse("expired", "The token has expired.")

    def _identity(self, claims: Mapping[str, Any]) -> Identity:
        """The caller."""
        if claims.get("iss") != self._issuer:
            _claim("iss", "is missing or another issuer")
        audience = claims.get("aud")
        if self._audience not in (audience if isinstance(audience, list) and _is_strings(audience) else [audience]):
            _claim("aud", "is missing or another audience")
        subject = _text(claims, "sub", MAX_USER_CHARS)
        user = _text(claims, "user_id", MAX_USER_CHARS) if "user_id" in claims else subject
        organization = _text(claims, "organization_id", MAX_ORGANIZATION_CHARS)
        return Identity(organization_id(organization), organization, UserId(user), _roles(claims))

    async def aclose(self) -> None:
        if self._keys is not None:
            await self._keys.aclose()


def issue_token(settings: Settings, organization: str, user: str, roles: Iterable[Role], ttl: timedelta) -> str:
    """An HS256 token of this server's own, valid for `ttl` from now.

    Raises ConfigurationError where the server has no secret (only JWKS) or a claim wouldn't be accepted.
    """
    import jwt

    secret = signing_secret(settings)
    if secret is None:
        raise ConfigurationError(
            "This server trusts the tokens of CONSILIUM_JWKS_URL or _FILE only. Fix: get a token there, or set "
            "CONSILIUM_JWT_SECRET."
        )
    now = int(time.time())
    claims = {
        "iss": settings.jwt_issuer,
        "aud": settings.jwt_audience,
        "sub": user,
        "user_id": user,
        "organization_id": organization,
        "roles": sorted(set(roles)),
        "iat": now,
        "exp": now + int(ttl.total_seconds()),
    }
    try:
        _text(claims, "user_id", MAX_USER_CHARS)
        _text(claims, "organization_id", MAX_ORGANIZATION_CHARS)
        _roles(claims)
    except Unauthenticated as wrong:
        raise ConfigurationError(f"No such token can be issued: {wrong.message}") from None
    if ttl < timedelta(seconds=1):
        raise ConfigurationError("A token must be valid for at least a second.")
    return jwt.encode(claims, secret, algorithm="HS256")


def signing_secret(settings: Settings) -> bytes | None:
    """The HS256 secret: the configured one, else the data directory's, made at first use. None where only
    JWKS is trusted.

    Raises ConfigurationError where the file can't be read or made, or its secret is too short.
    """
    if settings.jwt_secret is not None:
        return settings.jwt_secret.encode()
    if _has_jwks(settings):
        return None
    path = settings.data_dir / "jwt_secret"
    try:
        if not path.exists():
            _create_secret(path)
        secret = path.read_bytes().strip()
        if path.stat().st_mode & 0o077:
            path.chmod(0o600)
    except OSError as failed:
        raise ConfigurationError(
            f"{path}: {failed.strerror}. Fix: make the directory writable, or set CONSILIUM_JWT_SECRET."
        ) from failed
    if len(secret) < MIN_SECRET_BYTES:
        raise ConfigurationError(f"{path}: has less than {MIN_SECRET_BYTES} bytes. Fix: delete it, a new one is made.")
    return secret


def _create_secret(path: Path) -> None:
    """Whoever links first wins, and nobody ever sees half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, draft = tempfile.mkstemp(dir=path.parent, prefix=".jwt_secret")
    try:
        with os.fdopen(handle, "w") as file:
            file.write(secrets.token_hex(32))
        os.link(draft, path)
    except FileExistsError:
        return
    finally:
        Path(draft).unlink(missing_ok=True)


def _has_jwks(settings: Settings) -> bool:
    return settings.jwks_url is not None or settings.jwks_file is not None


def _verify(key: VerificationKey, signed: bytes, signature: bytes) -> bool:
    if key.algorithm == "RS256":
        return RSAAlgorithm(RSAAlgorithm.SHA256).verify(signed, cast(Any, key.public), signature)
    return len(signature) == 64 and ECAlgorithm(ECAlgorithm.SHA256).verify(signed, cast(Any, key.public), signature)


def _decode(part: str) -> bytes:
    """Canonical base64url without padding; anything else, such as another spelling of the same bytes, is refused."""
    try:
        data = base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        _malformed()
    if base64.urlsafe_b64encode(data).rstrip(b"=") != part.encode():
        _malformed()
    return data


def _object(data: bytes) -> dict[str, Any]:
    """A JSON object in which no key comes twice, at any depth, and no number is NaN or infinite."""
    try:
        value = json.loads(data.decode("utf-8"), object_pairs_hook=_distinct, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        _malformed()
    if not isinstance(value, dict):
        _malformed()
    return value


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = dict(pairs)
    if len(keys) != len(pairs):
        raise ValueError("a key comes twice")
    return keys


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _timestamp(claims: Mapping[str, Any], name: str) -> int:
    value = claims.get(name)
    if type(value) is not int or not 0 <= value < 2**53:
        _claim(name, "is required: a whole number of seconds since 1970")
    return value


def _text(claims: Mapping[str, Any], name: str, limit: int) -> str:
    value = claims.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= limit or not value.isprintable() or not value.strip():
        _claim(name, f"is required: 1 to {limit} printable characters")
    return value


def _is_strings(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


def _roles(claims: Mapping[str, Any]) -> frozenset[Role]:
    given = claims["roles"] if "roles" in claims else [claims.get("role")]
    if not _is_strings(given) or not given or not set(given) <= set(ROLES):
        _claim("roles", f"is required: a list of {', '.join(ROLES)}")
    return frozenset(cast("list[Role]", given))


def _claim(name: str, problem: str) -> NoReturn:
    _refuse("claims", f"The token's claim '{name}' {problem}.", claim=name)


def _malformed() -> NoReturn:
    _refuse("malformed", "The token is malformed.")


def _refuse(reason: str, message: str, **details: Any) -> NoReturn:
    raise Unauthenticated(message, reason=reason, **details) from None
