<?php
// PHPMailer, as its users write it. What to send and where comes in the environment (matrix_clients.py).
require '/usr/share/php/libphp-phpmailer/autoload.php';

use PHPMailer\PHPMailer\Exception;
use PHPMailer\PHPMailer\PHPMailer;

$mail = new PHPMailer(true);
try {
    $mail->isSMTP();
    $mail->Host = getenv('SMTP_HOST');
    $mail->Port = (int) getenv('SMTP_PORT');
    $mail->SMTPSecure = getenv('SMTP_TLS') === 'implicit' ? PHPMailer::ENCRYPTION_SMTPS : PHPMailer::ENCRYPTION_STARTTLS;
    $mail->SMTPOptions = ['ssl' => ['cafile' => getenv('SMTP_CA')]];
    $mail->SMTPAuth = true;
    $mail->AuthType = getenv('SMTP_MECHANISM');
    $mail->Username = getenv('SMTP_USER');
    $mail->Password = getenv('SMTP_PASSWORD');
    $mail->CharSet = PHPMailer::CHARSET_UTF8;
    $mail->Encoding = PHPMailer::ENCODING_8BIT;
    $mail->setFrom(getenv('SMTP_FROM'));
    $mail->addAddress(getenv('SMTP_TO'));
    $mail->Subject = getenv('SMTP_SUBJECT');
    $mail->Body = file_get_contents(getenv('SMTP_TEXT'));
    if (getenv('SMTP_ATTACHMENT')) {
        $mail->addAttachment(getenv('SMTP_ATTACHMENT'));
    }
    $mail->send();
    echo "sent\n";
} catch (Exception $trouble) {
    fwrite(STDERR, $mail->ErrorInfo . "\n");
    exit(1);
}
