"""`GET /`: a page that says what runs here. It asks for nothing from anywhere."""

from __future__ import annotations

from html import escape

from aiohttp import web

from agent.api.parts import DAEMON

POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

ROUTES = (
    ("POST", "/v1/chat/completions", "chat, OpenAI's way; streams"),
    ("POST", "/v1/completions", "text goes on; streams"),
    ("POST", "/v1/embeddings", "text to vectors"),
    ("POST", "/v1/search", "passages of a collection that fit a question"),
    ("GET", "/v1/collections", "the collections; also create, fill, remove"),
    ("GET", "/v1/models", "what can be asked"),
    ("POST", "/models/{name}/load", "also unload, activate, rollback"),
    ("GET", "/health", "is it up"),
    ("GET", "/status", "what it is doing"),
    ("GET", "/metrics", "for Prometheus"),
)

_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>edge-agent</title>
<style>body{{font:16px/1.5 system-ui,sans-serif;max-width:44rem;margin:3rem auto;padding:0 1rem}}
td{{padding:.1rem 1rem .1rem 0}}code,pre{{background:#8882;padding:.1rem .3rem}}pre{{overflow:auto}}</style>
<h1>edge-agent {version}</h1>
<p>A language model runs on this device. Any OpenAI client can talk to it; its base URL is <code>{url}/v1</code>.</p>
<pre>curl {url}/v1/chat/completions \\
  -d '{{"messages": [{{"role": "user", "content": "Hello"}}]}}'</pre>
<table>{rows}</table>
</html>
"""


async def index(request: web.Request) -> web.Response:
    rows = "".join(
        f"<tr><td>{method}<td><code>{escape(path)}</code><td>{escape(text)}</tr>" for method, path, text in ROUTES
    )
    url = escape(f"http://{request.host}")
    page = _PAGE.format(version=escape(request.app[DAEMON].version), url=url, rows=rows)
    return web.Response(text=page, content_type="text/html", headers={"Content-Security-Policy": POLICY})
