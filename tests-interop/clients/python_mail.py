"""smtplib and aiosmtplib, as their users write it: `python_mail.py LIBRARY`. What to send and where comes in the environment (matrix_clients.py)."""

import asyncio
import os
import pathlib
import smtplib
import ssl
import sys
from email.message import EmailMessage

HOST, PORT, IMPLICIT = os.environ["SMTP_HOST"], int(os.environ["SMTP_PORT"]), os.environ["SMTP_TLS"] == "implicit"
USER, PASSWORD, MECHANISM = os.environ["SMTP_USER"], os.environ["SMTP_PASSWORD"], os.environ["SMTP_MECHANISM"]


def message():
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = os.environ["SMTP_FROM"], os.environ["SMTP_TO"], os.environ["SMTP_SUBJECT"]
    mail.set_content(pathlib.Path(os.environ["SMTP_TEXT"]).read_text(encoding="utf-8"), cte="8bit")
    if name := os.environ.get("SMTP_ATTACHMENT"):
        mail.add_attachment(pathlib.Path(name).read_bytes(), maintype="application", subtype="octet-stream", filename="a.bin")
    return mail


def by_smtplib(context):
    client = smtplib.SMTP_SSL(HOST, PORT, context=context) if IMPLICIT else smtplib.SMTP(HOST, PORT)
    with client:
        if not IMPLICIT:
            client.starttls(context=context)
        if MECHANISM == "LOGIN":
            client.ehlo_or_helo_if_needed()
            client.user, client.password = USER, PASSWORD
            client.auth("LOGIN", client.auth_login)
        else:
            client.login(USER, PASSWORD)
        client.send_message(message())


def by_aiosmtplib(context):
    import aiosmtplib

    secured = {"use_tls": True} if IMPLICIT else {"start_tls": True}

    async def send():
        async with aiosmtplib.SMTP(hostname=HOST, port=PORT, tls_context=context, **secured) as client:
            await client.ehlo()
            await (client.auth_login if MECHANISM == "LOGIN" else client.login)(USER, PASSWORD)
            await client.send_message(message())

    asyncio.run(send())


if __name__ == "__main__":
    try:
        {"smtplib": by_smtplib, "aiosmtplib": by_aiosmtplib}[sys.argv[1]](ssl.create_default_context(cafile=os.environ["SMTP_CA"]))
    except Exception as trouble:
        print(type(trouble).__name__, trouble, file=sys.stderr)
        sys.exit(1)
