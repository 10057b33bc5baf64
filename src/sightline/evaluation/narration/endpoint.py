"""Narratives by a vision-language model at any endpoint with OpenAI's chat completions.

Nothing is sent but the prompt, the panel and, if requested, the measurements: no report, no id of a patient. The key
comes from the environment and is never written anywhere.
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
"""Tokens that a panel is assumed to take, when the cost of a call is compared with the cap beforehand."""
_MAX_ANSWER_BYTES = 4_000_000
"""Most bytes of an answer that are read."""
PROMPT = (
    "You see saliency maps of several networks over chest radiographs: findings in rows, the radiograph and each "
    "network in columns. Describe, finding by finding and network by network, where the maps point (side of the "
    "patient, upper, middle or lower zone, perihilar, costophrenic, cardiac, mediastinal) and how focused they are. "
    "Say only what the picture shows. Begin each finding with a line that is its name, and each network's sentence "
    "with '- NAME:'."
)


class EndpointError(SightlineError):
    """The endpoint returned no narrative; the message says what came and what to do."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Address of a vision-language model, and limits of time and cost."""

    url: str
    """Base of the address, to which /chat/completions is added."""
    model: str
    """Name of the model at the endpoint."""
    key_variable: str = "OPENAI_API_KEY"
    """Environment variable with the key; if it is empty, none is sent."""
    timeout: float = 60.0
    """Seconds for one attempt."""
    retries: int = 2
    """Further attempts after a timeout, a full queue (429) or a fault of the server (5xx)."""
    retry_delay: float = 1.0
    """Seconds before the first retry; each further one waits twice as long."""
    max_tokens: int = 1200
    """Most tokens of the answer."""
    price_per_1000_tokens: float = 0.0
    """Price of a thousand tokens, in the currency of `max_cost`."""
    max_cost: float = float("inf")
    """Cap of the cost of one call; one that may cost more is not made."""


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Handler that follows no redirect: a key for one host must not reach another."""

    def redirect_request(self, *given: Any, **named: Any) -> None:
        return None


def request_narrative(
    endpoint: Endpoint, panel: Path, log_path: Path, measurements: str = "", prompt: str = PROMPT
) -> str:
    """Request a narrative of a panel.

    Parameters
    ----------
    endpoint : Endpoint
        The vision-language model.
    panel : Path
        The panel, a PNG file.
    log_path : Path
        JSON file that gets the whole exchange but the key.
    measurements : str
        Numbers to be sent with the picture; without them the model has the picture alone.
    prompt : str
        Instructions for the model.

    Returns
    -------
    str
        The text of the answer. An `EndpointError` is raised for an invalid address, a call above the cap, a refusal, an
        endpoint without an answer after all retries, or an answer without text.
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


def _check_endpoint(endpoint: Endpoint, text: str) -> None:
    parts = urllib.parse.urlsplit(endpoint.url)
    local = parts.hostname in ("localhost", "127.0.0.1", "::1")
    if parts.scheme not in ("http", "https") or not parts.hostname or (parts.scheme == "http" and not local):
        raise EndpointError(
            f"{endpoint.url!r} is no address to send a key to; give https://HOST/v1, or http on this host"
        )
    expected_cost = (len(text) / 4 + IMAGE_TOKENS + endpoint.max_tokens) / 1000 * endpoint.price_per_1000_tokens
    if expected_cost > endpoint.max_cost:
        raise EndpointError(
            f"a call may cost {expected_cost:.3f}, and the cap is {endpoint.max_cost:g}; raise it, or shorten the "
            "answer"
        )


def _request_with_retries(endpoint: Endpoint, body: Mapping[str, Any]) -> dict[str, Any]:
    """Send a request until it succeeds, with the retries that the endpoint allows."""
    problem = ""
    for attempt in range(endpoint.retries + 1):
        if attempt:
            time.sleep(endpoint.retry_delay * 2 ** (attempt - 1))
        try:
            return _send_request(endpoint, body)
        except urllib.error.HTTPError as error:
            error.close()
            problem = f"status {error.code} {error.reason}"
            if error.code != 429 and error.code < 500:
                raise EndpointError(
                    f"{endpoint.url} refused the call ({problem}); is {endpoint.key_variable} set, and the model "
                    f"{endpoint.model!r} known there?"
                ) from None  # the request in the chain would hold the key
        except (OSError, http.client.HTTPException) as error:
            problem = "no answer in time" if isinstance(error, TimeoutError) else f"{type(error).__name__}: {error}"
        except ValueError as error:
            problem = f"an answer that is no JSON object ({error})"
    raise EndpointError(f"{endpoint.url} gave no narrative after {endpoint.retries + 1} attempts: {problem}")


def _send_request(endpoint: Endpoint, body: Mapping[str, Any]) -> dict[str, Any]:
    headers = {"Content-Type": "application/json"}
    if key := os.environ.get(endpoint.key_variable, "").strip():
        headers["Authorization"] = f"Bearer {key}"
    address = f"{endpoint.url.rstrip('/')}/chat/completions"
    request = urllib.request.Request(address, json.dumps(body).encode(), headers, method="POST")
    opener = urllib.request.build_opener(_NoRedirect)
    with opener.open(request, timeout=endpoint.timeout) as answer:
        content = json.loads(answer.read(_MAX_ANSWER_BYTES))
    if not isinstance(content, dict):
        raise ValueError(type(content).__name__)  # noqa: TRY004  (of the answer, not of an argument)
    return content


def _answer_text(answer: Mapping[str, Any]) -> str:
    try:
        text = answer["choices"][0]["message"]["content"]
    except (KeyError, IndexError, TypeError):
        text = None
    if not isinstance(text, str) or not text.strip():
        raise EndpointError(f"the answer has no text: {str(dict(answer))[:200]}")
    return text.strip()
