"""Alerts as a POST of JSON, in the form that the hook's program reads."""

from __future__ import annotations

import html
import json
import time
import urllib.error
import urllib.request
from typing import Any, ClassVar
from urllib.parse import urlsplit

from trimtab.config.alerts import is_local_url
from trimtab.core.errors import RecipeError
from trimtab.integrations.alert import MOST_CHARACTERS, Alert, ChannelError
from trimtab.integrations.references import resolved, without

WEBHOOK_SECONDS = 5.0
PAUSES = (0.5, 1.0)
"""Seconds before the second and the third attempt."""


class Webhook:
    """A POST of JSON. The URL is a secret: it stands in no message.

    Args:
        reference: `env:NAME`, or a URL of this machine.
    """

    name: ClassVar[str] = "webhook"

    def __init__(self, reference: str) -> None:
        self.url = resolved(reference, "alerts.webhook")
        if not _is_url(self.url):
            raise RecipeError(
                f"alerts.webhook: what {reference} holds is no http(s) URL.",
                remedy="Copy the whole URL of the hook, from https:// on.",
            )
        handlers: list[urllib.request.BaseHandler] = [_NoRedirect()]
        if is_local_url(self.url):
            handlers.append(urllib.request.ProxyHandler({}))
        self._opener = urllib.request.build_opener(*handlers)

    def send(self, alert: Alert) -> None:
        """Post it, with two more attempts where the network or the server fails."""
        body = json.dumps(hook_form(self.url, alert), ensure_ascii=False).encode("utf-8")
        for pause in (*PAUSES, None):
            reason, again = self._post(body)
            if not reason:
                return
            if pause is None or not again:
                raise ChannelError(without(self.url, reason))
            time.sleep(pause)

    def _post(self, body: bytes) -> tuple[str, bool]:
        """Why an attempt failed, and whether another might not; empty where it did not fail."""
        headers = {"Content-Type": "application/json; charset=utf-8", "User-Agent": "trimtab"}
        request = urllib.request.Request(self.url, data=body, headers=headers, method="POST")
        try:
            with self._opener.open(request, timeout=WEBHOOK_SECONDS) as answer:
                return _refusal(answer.read(65_536)), False
        except urllib.error.HTTPError as error:
            return f"the server answered {error.code} {error.reason}", error.code >= 500 or error.code == 429
        except urllib.error.URLError as error:
            return f"no connection ({error.reason})", True
        except TimeoutError:
            return f"no answer within {WEBHOOK_SECONDS:g} s", True
        except (OSError, ValueError) as error:
            return f"no connection ({type(error).__name__})", isinstance(error, OSError)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Takes a redirection for the failure it is: following it would send an empty GET elsewhere."""

    def redirect_request(self, *_: Any) -> None:
        """Follow none."""


def hook_form(url: str, alert: Alert) -> dict[str, Any]:
    """What is posted: our own fields, or the form that a chat program's hook reads, told by its host."""
    content = alert.to_dict()
    text = content["text"]
    host = urlsplit(url).hostname or ""
    if host in ("open.feishu.cn", "open.larksuite.com"):
        return {"msg_type": "text", "content": {"text": text}}
    if host in ("oapi.dingtalk.com", "qyapi.weixin.qq.com"):
        return {"msgtype": "text", "text": {"content": text}}
    if host in ("hooks.slack.com", "hooks.slack-gov.com"):
        # `&`, `<` and `>` are markup there.
        return {"text": html.escape(text, quote=False)}
    if host in ("discord.com", "discordapp.com"):
        return {"content": text[:MOST_CHARACTERS], "allowed_mentions": {"parse": []}}
    return content


def _refusal(answer: bytes) -> str:
    """Why a hook that answers 200 did not take the message: those of Feishu, DingTalk and WeCom say it in JSON."""
    try:
        told = json.loads(answer)
    except ValueError:
        return ""
    code = next((told[key] for key in ("errcode", "code") if key in told), 0) if isinstance(told, dict) else 0
    if not isinstance(code, int) or code == 0:
        return ""
    return f"the hook refused it ({code}: {str(told.get('errmsg') or told.get('msg') or '')[:200]})"


def _is_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and text.isprintable() and " " not in text
    except ValueError:
        return False
