"""A vision-language model that reads a panel: any endpoint that speaks OpenAI's chat completions.

Nothing is sent but the prompt, the panel and, if asked, the facts: no report, no id of a patient. The key comes from
the environment and is never written anywhere.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sightline.errors import SightlineError

IMAGE_TOKENS = 1500
"""What a panel is taken to cost, when a call is weighed against the cap beforehand."""
_MAX_ANSWER_BYTES = 4_000_000
"""Bytes of an answer that are read."""
PROMPT = (
    "You see saliency maps of several networks over chest radiographs: findings in rows, the film and each network in "
    "columns. Describe, finding by finding and network by network, where the maps point (side of the patient, upper, "
    "middle or lower zone, perihilar, costophrenic, cardiac, mediastinal) and how focused they are. Say only what the "
    "picture shows. Begin each finding with a line that is its name, and each network's sentence with '- NAME:'."
)


class EndpointError(SightlineError):
    """The endpoint gave no reading; the message says what came and what to do."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a reading is asked for, and how much it may cost."""

    url: str
    """Base, to which /chat/completions is added."""
    model: str
    key_variable: str = "OPENAI_API_KEY"
    """Environment variable that holds the key; where it is empty, none is sent."""
    timeout: float = 60.0
    """Seconds for one attempt."""
    retries: int = 2
    """Further attempts after a timeout, a full queue (429) or a fault of the server (5xx)."""
    retry_delay: float = 1.0
    """Seconds before the first retry; each further one waits twice as long."""
    max_tokens: int = 1200
    """Tokens of the answer."""
    price_per_1000_tokens: float = 0.0
    """Of a thousand tokens, in whatever currency `cap` is in."""
    max_cost: float = float("inf")
    """A call that may cost more is not made."""


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A key sent to one host must not follow a redirect to another."""

    def redirect_request(self, *given: Any, **named: Any) -> None:
        return None


def request_narrative(
    endpoint: Endpoint, panel: Path, log_path: Path, measurements: str = "", prompt: str = PROMPT
) -> str:
    """The model's reading of a panel (PNG). The whole exchange but the key is stored in the file `kept` (JSON).

    facts: numbers to be given beside the picture; without them the model has the picture alone.
    Errors: `EndpointError` for an address that is none, a call above the cap, a refusal, an endpoint that stays away
    after all retries, or an answer without text.
    """
    _check_endpoint(endpoint, prompt + measurements)
    picture = base64.b64encode(panel.read_bytes()).decode("ascii")
    content: list[dict[str, Any]] = [
        {"type": "text", "text": f"{prompt}\n\nMeasured:\n{measurements}" if measurements else prompt},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{picture}"}},
    ]
    body = {
        "model": endpoint.model,
        "temperature": 0,
        "max_tokens": endpoint.max_tokens,
        "messages": [{"role": "user", "content": content}],
    }
    answer = _request_with_retries(endpoint, body)
    text = _answer_text(answer)
    exchange = {
        "url": endpoint.url,
        "model": endpoint.model,
        "prompt": content[0]["text"],
        "panel": panel.name,
        "answer": text,
        "usage": answer.get("usage"),
    }
    log_path.parent.mkdir(parents=True, exist_ok=True)
    log_path.write_text(json.dumps(exchange, indent=1, ensure_ascii=False), "utf-8")
    return text


def _check_endpoint(endpoint: Endpoint, words: str) -> None:
    parts = urllib.parse.urlsplit(endpoint.url)
    local = parts.hostname in ("localhost", "127.0.0.1", "::1")
    if parts.scheme not in ("http", "https") or not parts.hostname or (parts.scheme == "http" and not local):
        raise EndpointError(
            f"{endpoint.url!r} is no address to send a key to; give https://HOST/v1, or http on this host"
        )
    likely = (len(words) / 4 + IMAGE_TOKENS + endpoint.max_tokens) / 1000 * endpoint.price_per_1000_tokens
    if likely > endpoint.max_cost:
        raise EndpointError(
            f"a call may cost {likely:.3f}, and the cap is {endpoint.max_cost:g}; raise it, or shorten the answer"
        )


def _request_with_retries(endpoint: Endpoint, body: Mapping[str, Any]) -> dict[str, Any]:
    """The answer, after as many attempts as it takes and is allowed."""
    trouble = ""
    for attempt in range(endpoint.retries + 1):
        if attempt:
            time.sleep(endpoint.retry_delay * 2 ** (attempt - 1))
        try:
            return _send_request(endpoint, body)
        except urllib.error.HTTPError as error:
            error.close()
            trouble = f"status {error.code} {error.reason}"
            if error.code != 429 and error.code < 500:
                raise EndpointError(
                    f"{endpoint.url} refused the call ({trouble}); is {endpoint.key_variable} set, and the model "
                    f"{endpoint.model!r} known there?"
                ) from None  # the request in the chain would hold the key
        except (OSError, http.client.HTTPException) as error:
            trouble = "no answer in time" if isinstance(error, TimeoutError) else f"{type(error).__name__}: {error}"
        except ValueError as error:
            trouble = f"an answer that is no JSON object ({error})"
    raise EndpointError(f"{endpoint.url} gave no reading after {endpoint.retries + 1} attempts: {trouble}")


def _send_request(endpoint: Endpoint, body: Mapping[str, Any]) -> dict[str, Any]:
    headers = {"Content-Type": "application/json"}
    if key := os.environ.get(endpoint.key_variable, "").strip():
        headers["Authorization"] = f"Bearer {key}"
    address = f"{endpoint.url.rstrip('/')}/chat/completions"
    request = urllib.request.Request(address, json.dumps(body).encode(), headers, method="POST")
    opener = urllib.request.build_opener(_NoRedirect)
    with opener.open(request, timeout=endpoint.timeout) as answer:
        found = json.loads(answer.read(_MAX_ANSWER_BYTES))
    if not isinstance(found, dict):
        raise ValueError(type(found).__name__)  # noqa: TRY004  (of the answer, not of an argument)
    return found


def _answer_text(answer: Mapping[str, Any]) -> str:
    try:
        text = answer["choices"][0]["message"]["content"]
    except (KeyError, IndexError, TypeError):
        text = None
    if not isinstance(text, str) or not text.strip():
        raise EndpointError(f"the answer has no text: {str(dict(answer))[:200]}")
    return text.strip()
