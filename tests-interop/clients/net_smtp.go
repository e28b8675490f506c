// Go's net/smtp, as its users write it: SendMail for STARTTLS, tls.Dial with NewClient for TLS from the first octet. What to send and where comes in
// the environment (matrix_clients.py); the authority of the certificate in SSL_CERT_FILE.
package main

import (
	"bytes"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"net"
	"net/smtp"
	"os"
)

func main() {
	if err := send(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func send() error {
	host := os.Getenv("SMTP_HOST")
	address := net.JoinHostPort(host, os.Getenv("SMTP_PORT"))
	from, to := os.Getenv("SMTP_FROM"), os.Getenv("SMTP_TO")
	auth := smtp.PlainAuth("", os.Getenv("SMTP_USER"), os.Getenv("SMTP_PASSWORD"), host)
	content, err := message(from, to)
	if err != nil {
		return err
	}
	if os.Getenv("SMTP_TLS") != "implicit" {
		return smtp.SendMail(address, auth, from, []string{to}, content)
	}
	connection, err := tls.Dial("tcp", address, &tls.Config{ServerName: host})
	if err != nil {
		return err
	}
	client, err := smtp.NewClient(connection, host)
	if err != nil {
		return err
	}
	defer client.Close()
	for _, step := range []func() error{
		func() error { return client.Auth(auth) },
		func() error { return client.Mail(from) },
		func() error { return client.Rcpt(to) },
	} {
		if err := step(); err != nil {
			return err
		}
	}
	body, err := client.Data()
	if err != nil {
		return err
	}
	if _, err := body.Write(content); err != nil {
		return err
	}
	if err := body.Close(); err != nil {
		return err
	}
	return client.Quit()
}

func message(from, to string) ([]byte, error) {
	text, err := os.ReadFile(os.Getenv("SMTP_TEXT"))
	if err != nil {
		return nil, err
	}
	text = bytes.ReplaceAll(text, []byte("\n"), []byte("\r\n"))
	var out bytes.Buffer
	fmt.Fprintf(&out, "From: %s\r\nTo: %s\r\nSubject: %s\r\nMIME-Version: 1.0\r\n", from, to, os.Getenv("SMTP_SUBJECT"))
	const plain = "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
	name := os.Getenv("SMTP_ATTACHMENT")
	if name == "" {
		fmt.Fprintf(&out, "%s%s", plain, text)
		return out.Bytes(), nil
	}
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	fmt.Fprintf(&out, "Content-Type: multipart/mixed; boundary=bound\r\n\r\n--bound\r\n%s%s", plain, text)
	fmt.Fprint(&out, "\r\n--bound\r\nContent-Type: application/octet-stream\r\nContent-Disposition: attachment\r\n")
	fmt.Fprint(&out, "Content-Transfer-Encoding: base64\r\n\r\n")
	encoded := base64.StdEncoding.EncodeToString(data)
	for ; len(encoded) > 76; encoded = encoded[76:] {
		fmt.Fprintf(&out, "%s\r\n", encoded[:76])
	}
	fmt.Fprintf(&out, "%s\r\n--bound--\r\n", encoded)
	return out.Bytes(), nil
}
