"""Send a message by mail and to a webhook; what cannot be sent is logged, and fails nothing."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from email.message import EmailMessage
from email.utils import formatdate
from typing import TYPE_CHECKING

from airflow.sdk import BaseHook

from include.errors import FeedUnavailable, NotConfigured, RetailSyncError

if TYPE_CHECKING:
    import httpx
    from airflow.sdk import Connection

    from include.overview.message import Message
    from include.settings import Settings

log = logging.getLogger(__name__)

#: Where a connection of type ``slackwebhook`` without a host points.
_SLACK = "https://hooks.slack.com/services"
_TIMEOUT_SECONDS = 10.0
_TRIES = 3


def is_wanted(settings: Settings) -> bool:
    """Whether anybody is told anything."""
    return bool(settings.recipients or settings.notify_webhook)


def send(message: Message, settings: Settings) -> bool:
    """Send a message to all who want it, whatever becomes of one of the ways; whether one of them worked."""
    sent = []
    if settings.recipients:
        conn_id, to = settings.smtp_connection, settings.recipients
        sent.append(_try(f"mail by connection {conn_id!r}", lambda: _mail(message, to, conn_id)))
    if webhook := settings.notify_webhook:
        sent.append(_try(f"webhook of connection {webhook!r}", lambda: _post(message, webhook)))
    return any(sent)


def _try(way: str, send: Callable[[], None]) -> bool:
    """Errors of drivers may quote the URL or the password: only the kind of theirs is logged."""
    try:
        send()
    except RetailSyncError as error:
        log.error("%s: nothing was sent: %s", way, error)  # noqa: TRY400 (it says all)
        return False
    except Exception as error:  # noqa: BLE001 (a message that is not sent fails no run)
        log.error("%s: nothing was sent: %s", way, type(error).__name__)  # noqa: TRY400 (see above)
        return False
    log.info("%s: the message was sent", way)
    return True


def _mail(message: Message, to: Sequence[str], conn_id: str) -> None:
    from airflow.providers.smtp.hooks.smtp import SmtpHook

    mail = EmailMessage()
    mail["Subject"], mail["To"], mail["Date"] = message.subject, ", ".join(to), formatdate(localtime=True)
    mail.set_content(message.text)
    mail.add_alternative(message.html, subtype="html")
    with SmtpHook(conn_id) as hook:
        if not (hook.from_email or hook.smtp_user):
            raise NotConfigured(f"connection {conn_id!r} has no from_email in its extra, and no login")
        mail["From"] = hook.from_email or hook.smtp_user
        # the hook's own ways of sending know no plain text
        hook._smtp_client.send_message(mail)  # type: ignore[union-attr]


def webhook_url(connection: Connection) -> str:
    """
    Return the URL of a webhook.

    The host is its address, with or without a protocol and a path; the password, if there is one, is the
    secret end of the path, as connections of type ``slackwebhook`` have it, or the whole URL.

    :raises NotConfigured: if there is no address.
    """
    secret = connection.password or ""
    if "://" in secret:
        return secret
    host = connection.host or (_SLACK if connection.conn_type == "slackwebhook" else "")
    if not host:
        raise NotConfigured(f"connection {connection.conn_id!r} has no host")
    if "://" not in host:
        protocol = connection.schema if connection.schema in {"http", "https"} else "https"
        host = f"{protocol}://{host}"
    port = f":{connection.port}" if connection.port else ""
    protocol, _, rest = host.partition("://")
    name, slash, path = rest.partition("/")
    url = f"{protocol}://{name}{port}{slash}{path}"
    return f"{url.rstrip('/')}/{secret}" if secret else url


def _post(message: Message, conn_id: str) -> None:
    """Post ``{"text": …}``; tried again where the server cannot be reached, is busy or has an error."""
    import httpx
    from tenacity import Retrying, retry_if_result, stop_after_attempt, wait_exponential

    url = webhook_url(BaseHook.get_connection(conn_id))

    def post() -> httpx.Response | None:
        try:
            return client.post(url, json={"text": message.short})
        except httpx.TransportError:
            return None

    # httpx logs each URL
    quiet = logging.getLogger("httpx")
    level = quiet.level
    quiet.setLevel(logging.WARNING)
    try:
        with httpx.Client(timeout=_TIMEOUT_SECONDS) as client:
            answer = Retrying(
                stop=stop_after_attempt(_TRIES),
                wait=wait_exponential(multiplier=0.5, max=5),
                retry=retry_if_result(lambda answer: answer is None or _is_worth_a_retry(answer)),
                retry_error_callback=lambda state: state.outcome.result() if state.outcome else None,
            )(post)
    finally:
        quiet.setLevel(level)
    if answer is None:
        raise FeedUnavailable(f"its server could not be reached in {_TRIES} tries")
    if not answer.is_success:
        raise FeedUnavailable(f"its server answered {answer.status_code}")


def _is_worth_a_retry(answer: httpx.Response) -> bool:
    return answer.status_code == 429 or answer.status_code >= 500
