"""A message about a run of the orders sync, by mail."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseNotifier

from retail_sync.operators.orders import MESSAGE_KEY

if TYPE_CHECKING:
    from airflow.sdk import Context


class OrdersSyncNotifier(BaseNotifier):
    """
    Send what a run did; nothing where it changed nothing.

    :param to: mail addresses.
    :param smtp_conn_id: the Airflow connection of the mail server; its extra ``from_email`` is the sender.
    """

    def __init__(self, to: list[str], smtp_conn_id: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.to = to
        self.smtp_conn_id = smtp_conn_id

    def notify(self, context: Context) -> None:
        """Send the message that the task left, if there is one to send."""
        from airflow.providers.smtp.notifications.smtp import SmtpNotifier

        instance = context["ti"]
        message = instance.xcom_pull(task_ids=instance.task_id, key=MESSAGE_KEY)
        if not message or not message["changed"]:
            return
        SmtpNotifier(
            to=self.to,
            subject=f"{instance.dag_id}: {message['status']}",
            html_content=f"<p>{escape(message['run_id'])}</p><pre>{escape(message['text'])}</pre>",
            smtp_conn_id=self.smtp_conn_id,
        ).notify(context)
