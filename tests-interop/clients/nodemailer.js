// nodemailer, as its users write it. What to send and where comes in the environment (matrix_clients.py).
'use strict'
const fs = require('node:fs')
const path = require('node:path')
const nodemailer = require(path.join(process.env.POSTRIDER_PEERS, 'node/node_modules/nodemailer'))

const { SMTP_HOST, SMTP_PORT, SMTP_TLS, SMTP_USER, SMTP_PASSWORD, SMTP_MECHANISM, SMTP_FROM, SMTP_TO } = process.env
const implicit = SMTP_TLS === 'implicit'
const transport = nodemailer.createTransport({
  host: SMTP_HOST,
  port: Number(SMTP_PORT),
  secure: implicit,
  requireTLS: !implicit,
  authMethod: SMTP_MECHANISM,
  auth: { user: SMTP_USER, pass: SMTP_PASSWORD },
})

transport
  .sendMail({
    from: SMTP_FROM,
    to: SMTP_TO,
    subject: process.env.SMTP_SUBJECT,
    text: fs.readFileSync(process.env.SMTP_TEXT, 'utf8'),
    attachments: process.env.SMTP_ATTACHMENT ? [{ path: process.env.SMTP_ATTACHMENT }] : [],
  })
  .then(({ response }) => console.log(response))
  .catch((trouble) => {
    console.error(trouble.code, trouble.message)
    process.exitCode = 1
  })
