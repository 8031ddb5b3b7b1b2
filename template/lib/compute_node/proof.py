"""By what lab knows this session's server before it sends the token, and the session that it can be announced."""

import hashlib
import hmac
import os
import secrets

from guard import limit
from tornado.simple_httpclient import SimpleAsyncHTTPClient
from tornado.web import RequestHandler

PATH = "passerelle"


def answer_to(token, nonce):
    """Return what only somebody who knows the token can answer (lib/laptop/lab/tunnel.py computes the same)."""
    return hmac.new(token.encode(), b"passerelle " + nonce.encode(), hashlib.sha256).hexdigest()


class Proof(RequestHandler):
    """The page that answers anybody's nonce; the token cannot be had from any number of answers."""

    def initialize(self, token):
        """Take the server's token."""
        self.token = token

    def get(self, nonce):
        """Write the answer to a nonce."""
        self.set_header("Content-Type", "text/plain")
        self.set_header("Cache-Control", "no-store")
        self.write(answer_to(self.token, nonce))


def prepare(server):
    """Add the page to the server."""
    token = server.identity_provider.token
    server.web_app.add_handlers(".*$", [("/" + PATH + "/([0-9a-f]{32,128})", Proof, {"token": token})])


async def try_server(server):
    """Ask the running server what others will ask; raises OSError for another answer than it must give,
    PermissionError when it asks nobody for the token.
    """
    token, nonce = server.identity_provider.token, secrets.token_hex(32)
    client, seconds = SimpleAsyncHTTPClient(force_instance=True), limit("SERVER_SLOW")

    async def ask(path, **headers):
        url = f"http://{server.ip}:{server.port}/{path}"
        return await client.fetch(
            url,
            headers=headers,
            raise_error=False,
            follow_redirects=False,
            connect_timeout=seconds,
            request_timeout=seconds,
        )

    try:
        shown, stranger = await ask(f"{PATH}/{nonce}"), await ask("lab")
        page = await ask("lab", Authorization=f"token {token}")
        if stranger.code != 302 or "/login" not in stranger.headers.get("Location", ""):
            raise PermissionError(f"/lab: {stranger.code}")
        if shown.body != answer_to(token, nonce).encode() or page.code != 200:
            raise OSError(f"/{PATH}: {shown.code}, /lab: {page.code}")
    finally:
        client.close()


def leave_word(server, path):
    """Say to the session, in one step, that the server can be announced: its port and its token."""
    descriptor = os.open(path + ".new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(descriptor, "w", encoding="ascii") as file:
        file.write(f"{server.port}\n{server.identity_provider.token}\n")
    os.replace(path + ".new", path)
