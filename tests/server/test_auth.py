"""Tokens over real HTTP: a valid one names its caller, every other is 401 before a statement reaches the database."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import stat
import time
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import jwt
import pytest
import structlog
import uvicorn
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm
from psycopg_pool import AsyncConnectionPool
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from domain.errors import ConfigurationError, Unauthenticated
from domain.ids import organization_id
from domain.settings import Settings
from server.auth import Authenticator, issue_token, signing_secret
from server.jwks import KeySet, parse_keys
from tests.serving import SECRET, Served

Claims = dict[str, Any]


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def raw(header: bytes | Claims, payload: bytes | Claims, key: bytes = SECRET.encode()) -> str:
    """A token of any header and payload, rightly signed with HS256 whatever they say."""
    parts = [b64(part if isinstance(part, bytes) else json.dumps(part).encode()) for part in (header, payload)]
    signed = ".".join(parts)
    return f"{signed}.{b64(hmac.new(key, signed.encode(), hashlib.sha256).digest())}"


HEADER: Claims = {"alg": "HS256", "typ": "JWT"}
RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC_KEY = ec.generate_private_key(ec.SECP256R1())


def claims(**changes: Any) -> Claims:
    """Claims that are taken, with changes; None leaves one out."""
    now = int(time.time())
    good = {
        "iss": "consilium", "aud": "consilium", "sub": "ann", "organization_id": "acme", "roles": ["member"],
        "iat": now, "exp": now + 600,
    }  # fmt: skip
    return {name: value for name, value in {**good, **changes}.items() if value is not None}


def payload_text(old: str, new: str) -> bytes:
    text = json.dumps(claims())
    assert old in text
    return text.replace(old, new, 1).encode()


def flip(token: str, at: int) -> str:
    return token[:at] + ("A" if token[at] != "A" else "B") + token[at + 1 :]


NOW = int(time.time())
BAD: dict[str, Callable[[], str]] = {
    "empty": lambda: "",
    "a word": lambda: "secret",
    "two parts": lambda: ".".join(raw(HEADER, claims()).split(".")[:2]),
    "four parts": lambda: raw(HEADER, claims()) + ".x",
    "five parts (encrypted)": lambda: raw(HEADER, claims()) + ".x.y",
    "no signature": lambda: raw(HEADER, claims()).rpartition(".")[0] + ".",
    "no payload": lambda: "..".join(raw(HEADER, claims()).split(".")[::2]),
    "other signature": lambda: flip(raw(HEADER, claims()), -5),
    "signature of half the length": lambda: raw(HEADER, claims())[:-20],
    "other key": lambda: raw(HEADER, claims(), b"another-secret-that-is-long-enough-0123456789"),
    "4-byte key": lambda: raw(HEADER, claims(), b"abcd"),
    "empty key": lambda: raw(HEADER, claims(), b""),
    "changed payload": lambda: ".".join(
        [
            (good := raw(HEADER, claims()).split("."))[0],
            b64(json.dumps(claims(organization_id="other")).encode()),
            good[2],
        ]
    ),
    "padding": lambda: raw(HEADER, claims()) + "=",
    "other spelling of the last bits": lambda: spelt_otherwise(raw(HEADER, claims())),
    "plain base64 alphabet": lambda: raw(HEADER, claims()).replace("_", "/").replace("-", "+") + "+",
    "a line break within": lambda: raw(HEADER, claims()).replace(".", ".%0a", 1),
    "header is no JSON": lambda: raw(b"alg=HS256", claims()),
    "header is a list": lambda: raw(b'["HS256"]', claims()),
    "header is not UTF-8": lambda: raw(b'{"alg":"HS256","x":"\xff"}', claims()),
    "alg none": lambda: raw({"alg": "none"}, claims()),
    "alg none, unsigned": lambda: raw({"alg": "none"}, claims()).rpartition(".")[0] + ".",
    "alg NONE": lambda: raw({"alg": "NONE"}, claims()),
    "alg None": lambda: raw({"alg": None}, claims()),
    "no alg": lambda: raw({"typ": "JWT"}, claims()),
    "alg twice": lambda: raw(b'{"alg":"none","alg":"HS256"}', claims()),
    "alg HS384": lambda: jwt.encode(claims(), SECRET, "HS384"),
    "alg HS512": lambda: jwt.encode(claims(), SECRET, "HS512"),
    "alg hs256": lambda: raw({"alg": "hs256"}, claims()),
    "alg a list": lambda: raw({"alg": ["HS256"]}, claims()),
    "alg RS256 signed with the secret": lambda: raw({"alg": "RS256", "kid": "a"}, claims()),
    "alg RS256 of no known key": lambda: jwt.encode(claims(), RSA_KEY, "RS256", {"kid": "a"}),
    "alg ES256 of no known key": lambda: jwt.encode(claims(), EC_KEY, "ES256", {"kid": "a"}),
    "crit": lambda: raw({**HEADER, "crit": ["exp"]}, claims()),
    "b64": lambda: raw({**HEADER, "b64": True}, claims()),
    "its own key (jwk)": lambda: raw({**HEADER, "jwk": {"kty": "oct", "k": "eA"}}, claims()),
    "its own key set (jku)": lambda: raw({**HEADER, "jku": "http://127.0.0.1:9/keys"}, claims()),
    "its own certificate (x5u)": lambda: raw({**HEADER, "x5u": "http://127.0.0.1:9/x"}, claims()),
    "its own certificate (x5c)": lambda: raw({**HEADER, "x5c": ["eA"]}, claims()),
    "compressed": lambda: raw({**HEADER, "zip": "DEF"}, claims()),
    "another typ": lambda: raw({**HEADER, "typ": "dpop+jwt"}, claims()),
    "payload is no JSON": lambda: raw(HEADER, b"exp=1"),
    "payload is a list": lambda: raw(HEADER, b"[]"),
    "payload is nested without end": lambda: raw(HEADER, b"[" * 3000),
    "exp twice": lambda: raw(HEADER, payload_text('"exp":', '"exp": 1, "exp":')),
    "organization_id twice": lambda: raw(
        HEADER, payload_text('"organization_id":', '"organization_id": "x", "organization_id":')
    ),
    "a key twice further down": lambda: raw(HEADER, payload_text('"iss":', '"x": {"a": 1, "a": 2}, "iss":')),
    "no exp": lambda: raw(HEADER, claims(exp=None)),
    "exp null": lambda: raw(HEADER, payload_text(f'"exp": {claims()["exp"]}', '"exp": null')),
    "exp a string": lambda: raw(HEADER, claims(exp=str(NOW + 600))),
    "exp true": lambda: raw(HEADER, claims(exp=True)),
    "exp a fraction": lambda: raw(HEADER, claims(exp=NOW + 600.5)),
    "exp NaN": lambda: raw(HEADER, claims(exp=float("nan"))),
    "exp Infinity": lambda: raw(HEADER, claims(exp=float("inf"))),
    "exp 1e400": lambda: raw(HEADER, payload_text('"exp": ', '"exp": 1e400, "x": ')),
    "exp of 5000 digits": lambda: raw(HEADER, payload_text('"exp": ', '"exp": ' + "9" * 5000 + ', "x": ')),
    "expired": lambda: raw(HEADER, claims(iat=NOW - 900, exp=NOW - 300)),
    "exp before iat": lambda: raw(HEADER, claims(iat=NOW + 10, exp=NOW + 5)),
    "no iat": lambda: raw(HEADER, claims(iat=None)),
    "iat a string": lambda: raw(HEADER, claims(iat=str(NOW))),
    "iat negative": lambda: raw(HEADER, claims(iat=-1)),
    "iat in the future": lambda: raw(HEADER, claims(iat=NOW + 30_000, exp=NOW + 60_000)),
    "nbf in the future": lambda: raw(HEADER, claims(nbf=NOW + 30_000, exp=NOW + 60_000)),
    "no sub": lambda: raw(HEADER, claims(sub=None)),
    "sub empty": lambda: raw(HEADER, claims(sub="")),
    "sub a number": lambda: raw(HEADER, claims(sub=7)),
    "sub with NUL": lambda: raw(HEADER, claims(sub="a\x00b")),
    "sub with half a surrogate pair": lambda: raw(HEADER, claims(sub="a\ud800b")),
    "user_id null": lambda: raw(HEADER, payload_text('"sub":', '"user_id": null, "sub":')),
    "user_id too long": lambda: raw(HEADER, claims(user_id="u" * 201)),
    "no iss": lambda: raw(HEADER, claims(iss=None)),
    "another iss": lambda: raw(HEADER, claims(iss="elsewhere")),
    "iss a list": lambda: raw(HEADER, claims(iss=["consilium"])),
    "no aud": lambda: raw(HEADER, claims(aud=None)),
    "another aud": lambda: raw(HEADER, claims(aud="elsewhere")),
    "aud a list without us": lambda: raw(HEADER, claims(aud=["a", "b"])),
    "aud a list with a number": lambda: raw(HEADER, claims(aud=["consilium", 1])),
    "aud part of the word": lambda: raw(HEADER, claims(aud="consilium2")),
    "no organization_id": lambda: raw(HEADER, claims(organization_id=None)),
    "organization_id empty": lambda: raw(HEADER, claims(organization_id="")),
    "organization_id blank": lambda: raw(HEADER, claims(organization_id="  ")),
    "organization_id a list": lambda: raw(HEADER, claims(organization_id=["acme"])),
    "organization_id too long": lambda: raw(HEADER, claims(organization_id="o" * 129)),
    "organization_id with a line break": lambda: raw(HEADER, claims(organization_id="a\nb")),
    "no roles": lambda: raw(HEADER, claims(roles=None)),
    "roles empty": lambda: raw(HEADER, claims(roles=[])),
    "roles a string": lambda: raw(HEADER, claims(roles="admin")),
    "an unknown role": lambda: raw(HEADER, claims(roles=["member", "root"])),
    "a role that is no string": lambda: raw(HEADER, claims(roles=[["admin"]])),
    "an unknown role as `role`": lambda: raw(HEADER, claims(roles=None, role="root")),
    "9 KB": lambda: raw(HEADER, claims(x="x" * 9000)),
}


def spelt_otherwise(token: str) -> str:
    """The same bytes with other unused bits in the last character of the signature."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return token[:-1] + alphabet[alphabet.index(token[-1]) ^ 1]


@pytest.fixture
def borrowed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The trace ids of requests that took a database connection. The run engine's own polling has none."""
    seen: list[str] = []
    original = AsyncConnectionPool.getconn

    async def getconn(self: Any, *args: Any, **kwargs: Any) -> Any:
        trace_id = structlog.contextvars.get_contextvars().get("trace_id")
        if trace_id is not None:
            seen.append(trace_id)
        return await original(self, *args, **kwargs)

    monkeypatch.setattr(AsyncConnectionPool, "getconn", getconn)
    return seen


async def test_every_malformed_token_is_401_and_reaches_no_database(server: Served, borrowed: list[str]) -> None:
    assert len(BAD) >= 40
    async with httpx.AsyncClient(base_url=server.url) as http:
        for how, make in BAD.items():
            token = make()
            for headers in ({"Authorization": f"Bearer {token}".strip()}, {"X-Api-Key": token}):
                for answer in (
                    await http.get("/threads/00000000-0000-0000-0000-000000000000", headers=headers),
                    await http.post("/threads", json={}, headers=headers),
                ):
                    assert answer.status_code == 401, (how, answer.text)
                    body = answer.json()
                    assert body["error_code"] == "unauthenticated", how
                    assert body["trace_id"] == answer.headers["x-trace-id"]
                    assert answer.headers["www-authenticate"] == "Bearer"
                    assert SECRET not in answer.text
    assert borrowed == []
    async with server.http() as http:
        answer = await http.get("/v1/usage")
    assert answer.headers["x-trace-id"] in borrowed, "a valid token's request must be seen, or this test shows nothing"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": ""},
        {"Authorization": "Bearer"},
        {"Authorization": "Basic YW5uOmFubg=="},
        {"X-Api-Key": ""},
    ],
)
async def test_no_token_is_401(server: Served, headers: dict[str, str]) -> None:
    async with httpx.AsyncClient(base_url=server.url, headers=headers) as http:
        for answer in (await http.post("/threads/search", json={}), await http.get("/v1/usage")):
            assert answer.status_code == 401
            assert answer.headers["www-authenticate"] == "Bearer"


async def test_two_authorization_headers_are_401(server: Served) -> None:
    good = f"Bearer {server.token()}"
    async with httpx.AsyncClient(base_url=server.url) as http:
        answer = await http.get("/v1/usage", headers=[("Authorization", good), ("Authorization", good)])
    assert answer.status_code == 401


async def test_a_header_of_2_mb_is_refused_and_the_server_lives(server: Served, borrowed: list[str]) -> None:
    async with httpx.AsyncClient(base_url=server.url) as http:
        try:
            answer = await http.get("/v1/usage", headers={"Authorization": "Bearer " + "a" * 2_000_000})
            assert answer.status_code in (400, 401, 431)
        except httpx.TransportError:
            pass  # the server hung up in the middle of it
        assert borrowed == []
        assert (await http.get("/ok")).status_code == 200


async def test_a_body_is_not_read_before_the_token_is_checked(server: Served) -> None:
    taken = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal taken
        while taken < 200_000_000:
            taken += 1_000_000
            yield b"x" * 1_000_000

    async with httpx.AsyncClient(base_url=server.url) as http:
        try:
            answer = await http.post(
                "/v1/documents", content=endless(), headers={"Content-Type": "multipart/form-data; boundary=x"}
            )
            assert answer.status_code == 401
        except httpx.TransportError:
            pass
    assert taken < 100_000_000


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"aud": ["other", "consilium"]},
        {"roles": None, "role": "manager"},
        {"user_id": "u-1"},
        {"nbf": -10},
        {"iat": +10},
        {"iat": -100, "exp": -10},
        {"extra": {"a": [1, 2]}},
        {"sub": "Анна"},
    ],
    ids=str,
)
async def test_a_valid_token_is_taken(server: Served, changes: Claims) -> None:
    now = int(time.time())
    given = {name: now + value if isinstance(value, int) else value for name, value in changes.items()}
    token = raw(HEADER, claims(**given))
    async with httpx.AsyncClient(base_url=server.url) as http:
        for headers in ({"Authorization": f"bearer {token}"}, {"X-Api-Key": token}):
            answer = await http.post("/threads", json={}, headers=headers)
            assert answer.status_code == 200, answer.text


async def test_authorization_beats_an_api_key(server: Served) -> None:
    """The SDK sends whatever LANGSMITH_API_KEY holds beside the caller's own header."""
    async with server.http() as http:
        assert (await http.get("/v1/usage", headers={"X-Api-Key": "lsv2_something"})).status_code == 200


async def test_the_sdks_api_key_is_a_token(server: Served) -> None:
    from langgraph_sdk import get_client

    client = get_client(url=server.url, api_key=server.token())
    assert (await client.threads.create())["thread_id"]


def settings(tmp_path: Path, **changes: Any) -> Settings:
    return Settings(data_dir=tmp_path / "data", **changes)


async def test_the_claims_become_an_identity(tmp_path: Path) -> None:
    auth = Authenticator(settings(tmp_path, jwt_secret=SECRET))
    caller = await auth.verify(
        raw(HEADER, claims(user_id="u-1", organization_id="ООО Ромашка", roles=["member", "admin"]))
    )
    assert (caller.user_id, caller.organization_name) == ("u-1", "ООО Ромашка")
    assert caller.organization_id == organization_id("ООО Ромашка")
    assert caller.roles == {"member", "admin"}
    assert (await auth.verify(raw(HEADER, claims()))).user_id == "ann"


def test_a_secret_is_made_once_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    first = signing_secret(settings(tmp_path))
    assert first is not None
    assert len(first) >= 32
    assert signing_secret(settings(tmp_path)) == first
    made = tmp_path / "data" / "jwt_secret"
    assert stat.S_IMODE(made.stat().st_mode) == 0o600
    assert [path.name for path in made.parent.iterdir()] == ["jwt_secret"]
    made.chmod(0o644)
    signing_secret(settings(tmp_path))
    assert stat.S_IMODE(made.stat().st_mode) == 0o600


def test_a_short_secret_in_the_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "jwt_secret").write_text("abcd")
    with pytest.raises(ConfigurationError, match="less than 32 bytes"):
        Authenticator(settings(tmp_path))


async def test_issued_tokens_are_taken_and_end(tmp_path: Path) -> None:
    own = settings(tmp_path, jwt_leeway_seconds=0)
    caller = await Authenticator(own).verify(issue_token(own, "acme", "ann", ["manager"], timedelta(minutes=5)))
    assert (caller.organization_name, caller.user_id, caller.roles) == ("acme", "ann", {"manager"})


@pytest.mark.parametrize(
    ("organization", "user", "roles", "ttl"),
    [
        ("", "ann", ["member"], 60),
        ("acme", "", ["member"], 60),
        ("acme", "ann", [], 60),
        ("acme", "ann", ["root"], 60),
        ("acme", "ann", ["member"], 0),
    ],
)
def test_a_token_that_would_be_refused_is_not_issued(
    tmp_path: Path, organization: str, user: str, roles: Any, ttl: int
) -> None:
    with pytest.raises(ConfigurationError):
        issue_token(settings(tmp_path), organization, user, roles, timedelta(seconds=ttl))


def public_jwk(key: Any, kid: str, **more: Any) -> Claims:
    algorithm = RSAAlgorithm if isinstance(key, rsa.RSAPrivateKey) else ECAlgorithm
    return {**json.loads(algorithm.to_jwk(key.public_key())), "kid": kid, "use": "sig", **more}


class IdentityProvider:
    """A real HTTP server with a key set that can change and fail."""

    def __init__(self) -> None:
        self.keys: list[Claims] = []
        self.status = 200
        self.asked = 0

    async def answer(self, _: Request) -> JSONResponse:
        self.asked += 1
        return JSONResponse({"keys": self.keys}, status_code=self.status)


@pytest.fixture
async def provider() -> AsyncIterator[tuple[IdentityProvider, str]]:
    made = IdentityProvider()
    app = Starlette(routes=[Route("/keys", made.answer)])
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None))
    running = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    yield made, f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/keys"
    server.should_exit = True
    await running


async def test_rs256_and_es256_by_a_key_set_over_http(tmp_path: Path, provider: tuple[IdentityProvider, str]) -> None:
    idp, url = provider
    idp.keys = [public_jwk(RSA_KEY, "r", alg="RS256"), public_jwk(EC_KEY, "e")]
    auth = Authenticator(settings(tmp_path, jwks_url=url))
    assert idp.asked == 0
    for key, algorithm, kid in [(RSA_KEY, "RS256", "r"), (EC_KEY, "ES256", "e")]:
        assert (await auth.verify(jwt.encode(claims(), key, algorithm, {"kid": kid}))).user_id == "ann"
    assert idp.asked == 1

    other = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    public_pem = json.dumps(idp.keys[0]).encode()
    for how, token in {
        "another key": jwt.encode(claims(), other, "RS256", {"kid": "r"}),
        "the other key's kid": jwt.encode(claims(), RSA_KEY, "RS256", {"kid": "e"}),
        "another algorithm of the key": jwt.encode(claims(), RSA_KEY, "RS512", {"kid": "r"}),
        "PSS": jwt.encode(claims(), RSA_KEY, "PS256", {"kid": "r"}),
        "HS256 with the public key": raw({"alg": "HS256", "kid": "r"}, claims(), public_pem),
        "no kid": jwt.encode(claims(), RSA_KEY, "RS256"),
        "a kid that is no string": raw({"alg": "RS256", "kid": 1}, claims()),
        "an unknown kid": jwt.encode(claims(), RSA_KEY, "RS256", {"kid": "x"}),
        "a kid with a path": jwt.encode(claims(), RSA_KEY, "RS256", {"kid": "../../etc/passwd"}),
    }.items():
        with pytest.raises(Unauthenticated):
            await auth.verify(token)
        assert how
    assert idp.asked == 1, "unknown keys of the first minute don't reach the identity provider"
    await auth.aclose()


async def test_a_new_key_is_found_after_a_minute_and_an_outage_keeps_the_known_ones(
    provider: tuple[IdentityProvider, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    idp, url = provider
    idp.keys = [public_jwk(RSA_KEY, "r")]
    keys = KeySet(url=url, file=None)
    clock = [1000.0]
    monkeypatch.setattr("server.jwks.time.monotonic", lambda: clock[0])
    assert await keys.find("r") is not None
    assert await keys.find("e") is None
    idp.keys.append(public_jwk(EC_KEY, "e"))
    assert await keys.find("e") is None
    assert idp.asked == 1
    clock[0] += 61
    assert await keys.find("e") is not None
    assert idp.asked == 2
    idp.status = 500
    clock[0] += 3601
    assert await keys.find("r") is not None
    assert await keys.find("r") is not None
    assert idp.asked == 3
    await keys.aclose()


async def test_a_token_taken_before_ends_with_its_key_and_with_its_time(
    tmp_path: Path, provider: tuple[IdentityProvider, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    idp, url = provider
    idp.keys = [public_jwk(RSA_KEY, "r"), public_jwk(EC_KEY, "e")]
    auth = Authenticator(settings(tmp_path, jwks_url=url))
    of_rsa = jwt.encode(claims(exp=int(time.time()) + 100_000), RSA_KEY, "RS256", {"kid": "r"})
    of_ec = jwt.encode(claims(), EC_KEY, "ES256", {"kid": "e"})
    for token in (of_rsa, of_ec, of_rsa, of_ec):
        assert (await auth.verify(token)).user_id == "ann"
    tomorrow = SimpleNamespace(time=lambda: time.time() + 90_000, monotonic=lambda: time.monotonic() + 90_000)
    monkeypatch.setattr("server.auth.time", tomorrow)
    with pytest.raises(Unauthenticated) as ended:
        await auth.verify(of_ec)
    assert ended.value.details["reason"] == "expired"
    idp.keys = [public_jwk(EC_KEY, "e")]
    assert (await auth.verify(of_rsa)).user_id == "ann"
    monkeypatch.setattr("server.jwks.time", tomorrow)
    with pytest.raises(Unauthenticated) as gone:
        await auth.verify(of_rsa)
    assert gone.value.details["reason"] == "unknown_key"
    await auth.aclose()


async def test_with_a_key_set_only_the_generated_secret_is_not_trusted(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    file.write_text(json.dumps({"keys": [public_jwk(EC_KEY, "e")]}))
    own = settings(tmp_path, jwks_file=file)
    auth = Authenticator(own)
    assert (await auth.verify(jwt.encode(claims(), EC_KEY, "ES256", {"kid": "e"}))).user_id == "ann"
    with pytest.raises(Unauthenticated):
        await auth.verify(raw(HEADER, claims()))
    with pytest.raises(ConfigurationError):
        issue_token(own, "acme", "ann", ["member"], timedelta(minutes=1))
    assert not (tmp_path / "data").exists()


def test_a_key_set_keeps_only_what_it_can_vouch_for() -> None:
    weak = rsa.generate_private_key(public_exponent=65537, key_size=1024)
    found = parse_keys(
        json.dumps(
            {
                "keys": [
                    public_jwk(RSA_KEY, "good"),
                    public_jwk(RSA_KEY, "twice"),
                    public_jwk(EC_KEY, "twice"),
                    public_jwk(weak, "weak"),
                    public_jwk(RSA_KEY, "encryption", use="enc"),
                    public_jwk(RSA_KEY, "other", alg="RS512"),
                    public_jwk(ec.generate_private_key(ec.SECP384R1()), "curve"),
                    {"kty": "oct", "kid": "shared", "k": "c2VjcmV0", "alg": "HS256"},
                    {"kty": "RSA", "kid": "broken", "n": 1, "e": "AQAB"},
                    {"kty": "RSA"},
                    "nothing",
                ]
            }
        ).encode()
    )
    assert set(found) == {"good"}


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"keys": {}}'])
def test_a_file_that_is_no_key_set_is_told_at_start(tmp_path: Path, content: str) -> None:
    file = tmp_path / "keys.json"
    file.write_text(content)
    with pytest.raises(ConfigurationError, match="CONSILIUM_JWKS_FILE"):
        KeySet(url=None, file=file)
