//! lettre, as its users write it. What to send and where comes in the environment (matrix_clients.py).
//!
//! **Promises.** One message, sent or not: the status says which, and standard error what lettre says of it.
#![forbid(unsafe_code)]

use std::error::Error;
use std::process::ExitCode;
use std::{env, fs};

use lettre::message::header::ContentType;
use lettre::message::{Attachment, MultiPart, SinglePart};
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};
use lettre::{Message, SmtpTransport, Transport};

fn main() -> ExitCode {
    match send() {
        Ok(()) => ExitCode::SUCCESS,
        Err(trouble) => {
            eprintln!("{trouble} {trouble:?}");
            ExitCode::FAILURE
        }
    }
}

fn send() -> Result<(), Box<dyn Error>> {
    let host = env::var("SMTP_HOST")?;
    let authority = Certificate::from_pem(&fs::read(env::var("SMTP_CA")?)?)?;
    let parameters = TlsParameters::builder(host.clone()).add_root_certificate(authority).build()?;
    let tls = if env::var("SMTP_TLS")? == "implicit" { Tls::Wrapper(parameters) } else { Tls::Required(parameters) };
    let mechanism = if env::var("SMTP_MECHANISM")? == "LOGIN" { Mechanism::Login } else { Mechanism::Plain };
    let transport = SmtpTransport::builder_dangerous(host)
        .port(env::var("SMTP_PORT")?.parse()?)
        .tls(tls)
        .credentials(Credentials::new(env::var("SMTP_USER")?, env::var("SMTP_PASSWORD")?))
        .authentication(vec![mechanism])
        .build();
    let text = SinglePart::plain(fs::read_to_string(env::var("SMTP_TEXT")?)?);
    let message =
        Message::builder().from(env::var("SMTP_FROM")?.parse()?).to(env::var("SMTP_TO")?.parse()?).subject(env::var("SMTP_SUBJECT")?);
    let message = match env::var("SMTP_ATTACHMENT")?.as_str() {
        "" => message.singlepart(text)?,
        name => {
            let attachment = Attachment::new("a.bin".into()).body(fs::read(name)?, ContentType::parse("application/octet-stream")?);
            message.multipart(MultiPart::mixed().singlepart(text).singlepart(attachment))?
        }
    };
    transport.send(&message)?;
    Ok(())
}
